package main

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	inmemBlock    = "storage \"inmem\" {}\n"
	listenerBlock = "listener \"tcp\" {\n  tls_disable = true\n}\n"
)

func TestParseConfig(t *testing.T) {
	got, err := parseConfig(`
# Everything that we read.
storage "postgresql" {
  connection_url = "postgres://127.0.0.1/vault?sslmode=disable"
  table          = "vault_kv_store"
  ha_enabled     = "true"
  max_parallel   = 4
}
listener "tcp" {
  address         = "127.0.0.1:0"
  cluster_address = "127.0.0.1:8301"
  tls_cert_file   = "cert.pem"
  tls_key_file    = "key.pem"
}
api_addr          = "https://127.0.0.1:8300"
cluster_addr      = "https://127.0.0.1:8301"
disable_mlock     = true
ui                = "false"
log_level         = "warn"
default_lease_ttl = "1h"
max_lease_ttl     = 7200
`)
	if err != nil {
		t.Fatal(err)
	}
	if s := got.Storage; s.Type != "postgresql" || s.Settings["ha_enabled"] != "true" || s.Settings["max_parallel"] != "4" {
		t.Errorf("storage = %+v", s)
	}
	want := listenerConfig{
		Address: "127.0.0.1:0", ClusterAddress: "127.0.0.1:8301",
		TLSCertFile: "cert.pem", TLSKeyFile: "key.pem",
	}
	if got.Listener != want {
		t.Errorf("listener = %+v, want %+v", got.Listener, want)
	}
	if got.APIAddr != "https://127.0.0.1:8300" || got.ClusterAddr != "https://127.0.0.1:8301" {
		t.Errorf("api_addr = %q, cluster_addr = %q", got.APIAddr, got.ClusterAddr)
	}
	if !got.DisableMlock || got.LogLevel != hclog.Warn {
		t.Errorf("disable_mlock = %t, log_level = %v", got.DisableMlock, got.LogLevel)
	}
	if got.DefaultLeaseTTL != time.Hour || got.MaxLeaseTTL != 2*time.Hour {
		t.Errorf("default_lease_ttl = %v, max_lease_ttl = %v", got.DefaultLeaseTTL, got.MaxLeaseTTL)
	}
}

func TestParseConfigDefaults(t *testing.T) {
	got, err := parseConfig(inmemBlock + listenerBlock)
	if err != nil {
		t.Fatal(err)
	}
	if got.Listener.Address != "127.0.0.1:8200" || got.LogLevel != hclog.Info || got.DisableMlock {
		t.Errorf("defaults: %+v", got)
	}
}

func TestParseConfigRefuses(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"empty":                {"", "no storage block"},
		"no storage":           {listenerBlock, "no storage block"},
		"no listener":          {inmemBlock, "no listener block"},
		"two storages":         {inmemBlock + "storage \"file\" {\n  path = \"x\"\n}\n" + listenerBlock, `"storage" is given twice`},
		"two listeners":        {inmemBlock + listenerBlock + listenerBlock, `"listener" is given twice`},
		"key twice":            {inmemBlock + listenerBlock + "ui = true\nui = false\n", `"ui" is given twice`},
		"unknown key":          {inmemBlock + listenerBlock + "api_adr = \"x\"\n", `line 5: unknown key "api_adr"`},
		"unknown block":        {inmemBlock + listenerBlock + "seal \"awskms\" {}\n", `unknown key "seal"`},
		"unknown storage":      {"storage \"raft\" {}\n" + listenerBlock, `unknown type "raft"`},
		"unknown listener":     {inmemBlock + "listener \"unix\" {}\n", `unknown type "unix"`},
		"unknown listener key": {inmemBlock + "listener \"tcp\" {\n  adress = \"x\"\n}\n", `"adress": unknown key`},
		"key twice in a block": {"storage \"file\" {\n  path = \"a\"\n  path = \"b\"\n}\n" + listenerBlock, `"path" is given twice`},
		"nested in storage":    {"storage \"file\" {\n  path {\n  }\n}\n" + listenerBlock, `"path"`},
		"list in storage":      {"storage \"file\" {\n  path = [\"a\"]\n}\n" + listenerBlock, `"path"`},
		"storage not a block":  {"storage = \"file\"\n" + listenerBlock, "want a block"},
		"storage no label":     {"storage {}\n" + listenerBlock, "want a block with one label"},
		"listener no TLS":      {inmemBlock + "listener \"tcp\" {}\n", "tls_disable = true"},
		"listener no key":      {inmemBlock + "listener \"tcp\" {\n  tls_cert_file = \"c\"\n}\n", "tls_key_file"},
		"bad bool":             {inmemBlock + listenerBlock + "disable_mlock = \"maybe\"\n", "disable_mlock: want true or false"},
		"bad level":            {inmemBlock + listenerBlock + "log_level = \"loud\"\n", `unknown level "loud"`},
		"bad duration":         {inmemBlock + listenerBlock + "max_lease_ttl = \"soon\"\n", "want a duration"},
		"negative duration":    {inmemBlock + listenerBlock + "max_lease_ttl = \"-1h\"\n", "negative"},
		"address not a string": {inmemBlock + listenerBlock + "api_addr = 8200\n", "want a string"},
		"not HCL":              {"storage \"inmem\" {", "object expected closing"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseConfig(test.text)
			if err == nil {
				t.Fatalf("accepted as %+v", got)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %q, want one with %q", err, test.want)
			}
		})
	}
}

func TestConfigFile(t *testing.T) {
	for _, args := range [][]string{{"-config=a"}, {"-config", "a"}, {"--config=a"}} {
		if got, err := configFile(args); err != nil || got != "a" {
			t.Errorf("configFile(%q) = %q, %v", args, got, err)
		}
	}
	for _, args := range [][]string{
		{}, {"-config"}, {"-config="}, {"-config=a", "-config=b"}, {"-dev"}, {"-config=a", "b"},
	} {
		if got, err := configFile(args); err == nil {
			t.Errorf("configFile(%q) = %q, want an error", args, got)
		}
	}
}
