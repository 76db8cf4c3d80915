package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/ast"
)

// config is what a configuration file says, with defaults filled in.
type config struct {
	Storage         storageConfig
	Listener        listenerConfig
	APIAddr         string // where other nodes send clients; empty: from the listener
	ClusterAddr     string // where other nodes reach this one; empty: from the listener
	DisableMlock    bool
	LogLevel        hclog.Level
	DefaultLeaseTTL time.Duration // 0: Vault's own default
	MaxLeaseTTL     time.Duration // 0: Vault's own default
}

// storageConfig is the storage block. Its settings go to the storage backend
// as they stand, as Vault itself does it.
type storageConfig struct {
	Type     string
	Settings map[string]string
}

// listenerConfig is the listener block.
type listenerConfig struct {
	Address        string
	ClusterAddress string // empty: the port above Address
	TLSDisable     bool
	TLSCertFile    string
	TLSKeyFile     string
}

// readConfig parses the configuration file of the given name.
func readConfig(file string) (*config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	c, err := parseConfig(string(text))
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", file, err)
	}
	return c, nil
}

// parseConfig parses a configuration. Unlike Vault, which warns and goes on, it
// refuses a key that it does not know: a development server that quietly drops
// a setting would make a test pass for the wrong reason.
func parseConfig(text string) (*config, error) {
	file, err := hcl.Parse(text)
	if err != nil {
		return nil, err
	}
	list, ok := file.Node.(*ast.ObjectList)
	if !ok {
		return nil, errors.New("not a list of settings")
	}
	c := &config{LogLevel: hclog.Info}
	seen := make(map[string]bool)
	for _, item := range list.Items {
		if err := c.apply(item, seen); err != nil {
			return nil, fmt.Errorf("line %d: %w", item.Pos().Line, err)
		}
	}
	if !seen["storage"] {
		return nil, errors.New("no storage block")
	}
	if !seen["listener"] {
		return nil, errors.New("no listener block")
	}
	return c, nil
}

// apply takes one setting or block of the file into c.
func (c *config) apply(item *ast.ObjectItem, seen map[string]bool) error {
	if len(item.Keys) == 0 {
		return errors.New("a setting without a name")
	}
	key := keyName(item, 0)
	set, ok := settings[key]
	if !ok {
		return fmt.Errorf("unknown key %q", key)
	}
	if seen[key] {
		return fmt.Errorf("%q is given twice", key)
	}
	seen[key] = true
	if err := set(c, item); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// settings maps each key that a file may have at its top to its parser.
var settings = map[string]func(*config, *ast.ObjectItem) error{
	"storage":           (*config).setStorage,
	"listener":          (*config).setListener,
	"api_addr":          func(c *config, item *ast.ObjectItem) error { return decodeString(item, &c.APIAddr) },
	"cluster_addr":      func(c *config, item *ast.ObjectItem) error { return decodeString(item, &c.ClusterAddr) },
	"disable_mlock":     func(c *config, item *ast.ObjectItem) error { return decodeBool(item, &c.DisableMlock) },
	"ui":                ignoreBool, // there is no user interface in this build
	"log_level":         (*config).setLogLevel,
	"default_lease_ttl": func(c *config, item *ast.ObjectItem) error { return decodeDuration(item, &c.DefaultLeaseTTL) },
	"max_lease_ttl":     func(c *config, item *ast.ObjectItem) error { return decodeDuration(item, &c.MaxLeaseTTL) },
}

func ignoreBool(_ *config, item *ast.ObjectItem) error {
	var ignored bool
	return decodeBool(item, &ignored)
}

func (c *config) setLogLevel(item *ast.ObjectItem) error {
	var text string
	if err := decodeString(item, &text); err != nil {
		return err
	}
	level := hclog.LevelFromString(text)
	if level == hclog.NoLevel {
		return fmt.Errorf("unknown level %q", text)
	}
	c.LogLevel = level
	return nil
}

// setStorage reads a storage block: a type that this build has, then settings
// of which the backend itself knows the meaning.
func (c *config) setStorage(item *ast.ObjectItem) error {
	kind, err := blockLabel(item)
	if err != nil {
		return err
	}
	if _, ok := storageFactories[kind]; !ok {
		return fmt.Errorf("unknown type %q (this build has inmem, file and postgresql)", kind)
	}
	body, err := decodeBlock(item)
	if err != nil {
		return err
	}
	c.Storage = storageConfig{Type: kind, Settings: make(map[string]string, len(body))}
	for key, value := range body {
		text, err := scalarText(value)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		c.Storage.Settings[key] = text
	}
	return nil
}

// setListener reads a listener block.
func (c *config) setListener(item *ast.ObjectItem) error {
	kind, err := blockLabel(item)
	if err != nil {
		return err
	}
	if kind != "tcp" {
		return fmt.Errorf("unknown type %q (this build has tcp)", kind)
	}
	body, err := decodeBlock(item)
	if err != nil {
		return err
	}
	l := &c.Listener
	for key, value := range body {
		switch key {
		case "address":
			l.Address, err = scalarText(value)
		case "cluster_address":
			l.ClusterAddress, err = scalarText(value)
		case "tls_disable":
			l.TLSDisable, err = scalarBool(value)
		case "tls_cert_file":
			l.TLSCertFile, err = scalarText(value)
		case "tls_key_file":
			l.TLSKeyFile, err = scalarText(value)
		default:
			err = errors.New("unknown key")
		}
		if err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
	}
	return l.check()
}

// check fills in the default address, which is Vault's, and requires either
// TLS files or an explicit choice to go without.
func (l *listenerConfig) check() error {
	if l.Address == "" {
		l.Address = "127.0.0.1:8200"
	}
	if !l.TLSDisable && (l.TLSCertFile == "" || l.TLSKeyFile == "") {
		return errors.New("set tls_cert_file and tls_key_file, or tls_disable = true")
	}
	return nil
}
