package vaultserver

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

const (
	defaultAddress = "127.0.0.1:8200" // Vault's own

	// defaultStartTimeout is far above the tenth of a second that a start takes,
	// for a machine that is busy booting.
	defaultStartTimeout = time.Minute

	// defaultStopTimeout leaves Vault the time to finish requests, to seal itself,
	// and to give up the lock by which the next node becomes active.
	defaultStopTimeout = 15 * time.Second
)

// Config says which Vault to run, where, and on what storage.
type Config struct {
	// Binary is the server's program: a path, or a name that is looked up in
	// PATH. Empty means vault, or else bao, in PATH.
	Binary string

	// Dir is the directory of the server, for nobody else. It is made with mode
	// 0700, or must have no permission for group and others. It holds the
	// configuration while the server runs, and the generated key and
	// certificate. Required.
	Dir string

	// Address is the host and port to listen on for clients. Default
	// "127.0.0.1:8200". With port 0 Start chooses a free one, which stays the
	// same until Stop.
	Address string

	// ClusterAddress is the host and port to listen on for the other nodes on the
	// same storage, which always speak TLS to each other. Default: the host of
	// Address, and the port above its port (with port 0, a free one). A host that
	// other machines can't reach serves a single machine only.
	ClusterAddress string

	// APIURL and ClusterURL are where other nodes find this one. Default: what
	// Address and ClusterAddress say. Required if these have a host that stands
	// for all addresses, such as 0.0.0.0, and the storage is for several nodes.
	APIURL, ClusterURL string

	// Storage is where Vault keeps its data: [PostgresTables], [Postgres], [File] or
	// [InMemory]. Required.
	Storage Storage

	// PlaintextHosts are the hosts of databases to which an unencrypted connection
	// is allowed although they are not on this machine.
	PlaintextHosts []string

	// TLS is how clients are spoken to. Default: [GeneratedTLS] with its defaults.
	TLS TLS

	// DefaultLeaseTTL and MaxLeaseTTL bound the life of tokens. 0 means Vault's
	// own, 768 h. Parts of a second are left off.
	DefaultLeaseTTL, MaxLeaseTTL time.Duration

	// LockMemory has Vault lock its memory, so that nothing of it is swapped out.
	// It takes the capability IPC_LOCK or a high RLIMIT_MEMLOCK, without which
	// Vault does not start, and OpenBao no longer can. So the default is not to;
	// then the swap space should be encrypted, or absent.
	LockMemory bool

	// LogLevel is how much Vault logs: "trace", "debug", "info", "warn" or
	// "error". Default "info".
	LogLevel string

	// StartTimeout bounds Start with all its attempts, and each later attempt to
	// start the process. Default 1 min.
	StartTimeout time.Duration

	// StopTimeout is how long Vault may take to end before it is killed; one that
	// did not get ready, 5 s at most. Default 15 s.
	StopTimeout time.Duration

	// Logger receives what Vault logs, with the attribute component=vault, and
	// what happens to its process. It never sees the configuration. Default:
	// discard.
	Logger *slog.Logger
}

// Format writes nothing of the fields, whatever the verb.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, "configuration of a Vault server") }

// withDefaults checks the configuration without looking at anything outside, apart
// from the program. Paths become absolute.
func (c Config) withDefaults() (Config, error) {
	c.Address = cmp.Or(c.Address, defaultAddress)
	c.LogLevel = cmp.Or(c.LogLevel, "info")
	c.StartTimeout = cmp.Or(c.StartTimeout, defaultStartTimeout)
	c.StopTimeout = cmp.Or(c.StopTimeout, defaultStopTimeout)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.TLS == nil {
		c.TLS = GeneratedTLS{}
	}
	switch {
	case c.Dir == "":
		return c, errors.New("Config.Dir is required")
	case c.StartTimeout < 0 || c.StopTimeout < 0:
		return c, errors.New("Config.StartTimeout or StopTimeout is negative")
	case c.DefaultLeaseTTL < 0 || c.MaxLeaseTTL < 0:
		return c, errors.New("Config.DefaultLeaseTTL or MaxLeaseTTL is negative")
	case !slices.Contains([]string{"trace", "debug", "info", "warn", "error"}, c.LogLevel):
		return c, fmt.Errorf("Config.LogLevel is %q: want trace, debug, info, warn or error", c.LogLevel)
	}
	if err := c.Storage.check(c.PlaintextHosts); err != nil {
		return c, fmt.Errorf("Config.Storage: %w", err)
	}
	if err := c.TLS.check(c.Address); err != nil {
		return c, fmt.Errorf("Config.TLS: %w", err)
	}
	var err error
	if c.Binary, err = findBinary(c.Binary); err != nil {
		return c, fmt.Errorf("Config.Binary: %w", err)
	}
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return c, fmt.Errorf("Config.Dir: %w", err)
	}
	return c, nil
}

// findBinary returns the absolute path of the program.
func findBinary(name string) (string, error) {
	names := []string{name}
	if name == "" {
		names = []string{"vault", "bao"}
	}
	var failed error
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err == nil {
			return filepath.Abs(path)
		}
		failed = errors.Join(failed, err)
	}
	return "", failed
}
