//go:build unix

package vaultserver

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend/postgres"
	"github.com/atrest/atrest/internal/devvault"
)

// TestStartRefuses takes what is wrong before any process is started.
func TestStartRefuses(t *testing.T) {
	t.Parallel()
	open := t.TempDir() // mode 0755
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	refused := atrest.ErrPlaintextConnection
	for name, test := range map[string]struct {
		change func(*Config)
		want   error  // nil: any
		text   string // part of the error
	}{
		"no program":           {func(c *Config) { c.Binary = "/no/such/program" }, fs.ErrNotExist, ""},
		"not a program":        {func(c *Config) { c.Binary = open }, nil, "Config.Binary"},
		"no directory":         {func(c *Config) { c.Dir = "" }, nil, "Config.Dir"},
		"open directory":       {func(c *Config) { c.Dir = open }, atrest.ErrUnsafePermissions, "chmod 0700"},
		"no storage":           {func(c *Config) { c.Storage = Storage{} }, nil, "required"},
		"no storage directory": {func(c *Config) { c.Storage = File("") }, nil, "no directory"},
		"no port":              {func(c *Config) { c.Address = "127.0.0.1" }, nil, "Config.Address"},
		"template":             {func(c *Config) { c.Address = "{{ GetPrivateIP }}:8200" }, nil, ""},
		"template with TLS":    {func(c *Config) { c.Address, c.TLS = "{{ GetPrivateIP }}:8200", GeneratedTLS{} }, nil, "not a host"},
		"plaintext":            {func(c *Config) { c.Address = "192.0.2.1:8200" }, refused, ""},
		"plaintext to all":     {func(c *Config) { c.Address = "0.0.0.0:8200" }, refused, ""},
		"plaintext, no host":   {func(c *Config) { c.Address = ":8200" }, refused, ""},
		"URL of a scheme":      {func(c *Config) { c.APIURL = "https://a.example:8200" }, nil, "http://"},
		"URL with a password":  {func(c *Config) { c.APIURL = "http://u:secret@a.example" }, nil, "want a URL of"},
		"which address": {func(c *Config) {
			c.ClusterAddress, c.Storage = "0.0.0.0:8201", Postgres("postgres://localhost/x", nil, 0)
		}, nil, "missing Config.ClusterURL"},
		"unencrypted": {func(c *Config) { c.Storage = Postgres("postgres://u:secret@db.example/x", nil, 0) }, refused, "sslmode"},
		"perhaps not": {func(c *Config) { c.Storage = Postgres("postgres://db.example/x?sslmode=prefer", nil, 0) }, refused, ""},
		"one of two":  {func(c *Config) { c.Storage = Postgres("postgres:///x?host=localhost,db.example", nil, 0) }, refused, ""},
		"a service":   {func(c *Config) { c.Storage = Postgres("postgres:///x?service=a", nil, 0) }, nil, "service"},
		"not a URL":   {func(c *Config) { c.Storage = Postgres("host=localhost password=secret", nil, 0) }, nil, "postgres://"},
		"no URL of tables": {func(c *Config) {
			c.Storage = PostgresTables("host=localhost password=secret", new(postgres.VaultTables), 0)
		}, nil, "postgres://"},
		"budget":          {func(c *Config) { c.Storage = Postgres("postgres://localhost/x", nil, -1) }, nil, "maxParallel"},
		"not a setting":   {func(c *Config) { c.Storage = Postgres("postgres://localhost/x", map[string]string{"a b": ""}, 0) }, nil, "not the name of a setting"},
		"not UTF-8":       {func(c *Config) { c.Storage = File("/tmp/\xff") }, nil, "UTF-8"},
		"log level":       {func(c *Config) { c.LogLevel = "loud" }, nil, "LogLevel"},
		"key type":        {func(c *Config) { c.TLS = GeneratedTLS{KeyType: 9} }, nil, "KeyType"},
		"no certificate":  {func(c *Config) { c.TLS = TLSFiles{} }, nil, "CertFile"},
		"lost files":      {func(c *Config) { c.TLS = TLSFiles{CertFile: "/no/cert", KeyFile: "/no/key"} }, fs.ErrNotExist, ""},
		"negative time":   {func(c *Config) { c.StopTimeout = -1 }, nil, "negative"},
		"negative leases": {func(c *Config) { c.MaxLeaseTTL = -1 }, nil, "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := testConfig(t, test.change)
			s, err := Start(t.Context(), c)
			if err == nil {
				t.Fatal("started", s, s.Stop(t.Context()))
			}
			if test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "secret") {
				t.Errorf("error = %v", err)
			}
		})
	}
}

func TestAllowedPlaintext(t *testing.T) {
	t.Parallel()
	for url, hosts := range map[string][]string{
		"postgres://db.example/x":                     {"db.example"},
		"postgres://db.example/x?sslmode=verify-full": nil,
		"postgresql://[::1]:5432/x":                   nil,
		"postgres:///x?host=/run/postgresql":          nil,
		"postgres:///x":                               nil,
	} {
		if err := Postgres(url, nil, 0).check(hosts); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestExitsAtOnce checks that Start tries several times, and what it says in the end.
func TestExitsAtOnce(t *testing.T) {
	t.Parallel()
	count := filepath.Join(t.TempDir(), "count")
	c, log := testConfig(t, func(c *Config) {
		c.Binary = script(t, `echo x >> `+count+`; echo the reason >&2; exit 3`)
		c.StartTimeout = 3 * time.Second
	})
	begin := time.Now()
	s, err := Start(t.Context(), c)
	if !errors.Is(err, atrest.ErrVaultUnavailable) || !strings.Contains(err.Error(), "exit code 3") || !strings.Contains(err.Error(), "the reason") {
		t.Fatalf("Start = %v, %v", s, err)
	}
	if took := time.Since(begin); took < c.StartTimeout || took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	tries, err := os.ReadFile(count)
	if err != nil {
		t.Fatal(err)
	}
	// Waits of 0.1 to 0.2, 0.2 to 0.4, 0.4 to 0.8, 0.8 to 1.6 s, …
	if n := len(tries) / 2; n < 2 || n > 6 {
		t.Errorf("%d tries", n)
	}
	log.await(t, "level=WARN", "trying again", "the reason")
	if _, err := os.Stat(filepath.Join(c.Dir, configFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the configuration is still there: %v", err)
	}
}

// TestPortInUse waits for a port that another has.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, log := testConfig(t, func(c *Config) { c.Address = l.Addr().String() })
	go func() {
		for !strings.Contains(log.String(), "trying again") {
			time.Sleep(10 * time.Millisecond)
		}
		l.Close()
	}()
	s := startForTest(t, c)
	if want := "http://" + c.Address; s.Addr() != want {
		t.Errorf("address %s, want %s", s.Addr(), want)
	}
	log.await(t, "address already in use")
}

// TestAnotherVault checks that another Vault at the address is not taken for ours.
func TestAnotherVault(t *testing.T) {
	t.Parallel()
	other := devvault.StartForTest(t)
	err := startInVain(t, "trying again", func(c *Config) { c.Address = strings.TrimPrefix(other.Addr(), "http://") })
	if !errors.Is(err, atrest.ErrVaultUnavailable) || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("error = %v", err)
	}
}

func TestStartCancelled(t *testing.T) {
	t.Parallel()
	for name, program := range map[string]string{
		"silent":  `exec sleep 1000`,
		"waiting": `exit 1`,
		"deaf":    `trap '' TERM; echo "==> Vault server started!"; while :; do sleep 0.1; done`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pid := filepath.Join(t.TempDir(), "pid")
			c, _ := testConfig(t, func(c *Config) {
				c.Binary = script(t, `echo $$ > `+pid+".new; mv "+pid+".new "+pid+"\n"+program)
				c.StopTimeout = time.Hour // is not for one that never got ready
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				for {
					if _, err := os.Stat(pid); err == nil {
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
				cancel()
			}()
			s, err := Start(ctx, c)
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("Start = %v, %v", s, err)
			}
			// The directory is free again, and nobody is left in it.
			lock, err := openDir(c.Dir)
			if err != nil {
				t.Fatal(err)
			}
			lock.Close()
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c, _ := testConfig(t)
	if s, err := Start(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("Start = %v, %v", s, err)
	}
}
