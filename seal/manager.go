package seal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
	"go.opentelemetry.io/otel/metric"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/vaultclient"
)

// Config says where the parts of an installation are. The zero value of each field
// but the first four is a good choice.
type Config struct {
	// Vault reaches this node's internal Vault. Required. It needs no token, and none
	// that it has is used. Its address must begin with https:// or be on this machine.
	Vault *api.Client

	// Records keeps the seal record: the special table, shared by all nodes of the
	// installation. Required.
	Records backend.Records

	// InstanceKey opens this machine's password file. Required. See KeyFile.
	InstanceKey InstanceKey

	// PasswordFile is the path of the file on local disk in which the Encryption Password
	// is kept, encrypted with the instance key. Required. Its directory is made if
	// it is missing, and must be nobody else's to write.
	PasswordFile string

	// Mount and Key name the transit engine and the transit key that Boot makes.
	// Default "transit" and "atrest".
	Mount, Key string

	// AppRoleMount and RoleName name the AppRole engine, and the role and the policy by which
	// services log in. Default "approle" and "atrest".
	AppRoleMount, RoleName string

	// Shares and Threshold are into how many parts the unseal key of a new Vault is
	// split, and how many of them unseal it (Shamir). Default 1 and 1. More are of use
	// only with ShareRecords.
	Shares, Threshold int

	// ShareRecords, if any, keep the shares in records of their own, one each, sealed under
	// the password: the first share in the first of these, and so on. Have as many
	// databases as shares: Threshold of them have to be there to unseal Vault, and the
	// others may be lost or out of reach. With one alone, all shares are there. Default: the
	// shares are in the seal record.
	//
	// A change comes into effect with the next Rekey or ChangePassword, which write the
	// shares anew, and before which all nodes must have it. Until then FormerShareRecords
	// say where else to look. A copy of an installation, such as for tests, must not have
	// the databases of the original here: its changes would remove that one's shares.
	ShareRecords, FormerShareRecords []backend.Records

	// Argon2id is what it costs to try a password. Default: 64 MiB, 3 passes, 4 lanes.
	Argon2id Argon2id

	// InitGrace is how long a node that finds an intent to initialise Vault, left by
	// a run that is gone, waits before it does so itself. It must be longer than Vault
	// takes to initialise. Default 10 s.
	InitGrace time.Duration

	// KeepInterval is how often KeepUnsealed looks at Vault. Default 1 s.
	KeepInterval time.Duration

	// MeterProvider, of OpenTelemetry, receives two counters of what KeepUnsealed does:
	// atrest.seal.unseals, by outcome, and atrest.seal.state_changes, by state. Default: none;
	// nothing is counted.
	MeterProvider metric.MeterProvider

	// PlaintextHosts are the hosts, beside this machine, to which http:// is allowed.
	PlaintextHosts []string

	// Logger is told of each change of state. It never sees a secret. Default: discard.
	Logger *slog.Logger
}

// Format writes no more than where the password file is: with some verbs, fmt would
// print the client with its token.
func (c Config) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "seal of %s", c.PasswordFile) }

func (c Config) withDefaults() (Config, error) {
	c.Mount, c.Key = cmp.Or(c.Mount, "transit"), cmp.Or(c.Key, "atrest")
	c.AppRoleMount, c.RoleName = cmp.Or(c.AppRoleMount, "approle"), cmp.Or(c.RoleName, "atrest")
	c.Shares, c.Threshold = cmp.Or(c.Shares, 1), cmp.Or(c.Threshold, 1)
	c.Argon2id = c.Argon2id.withDefaults()
	c.InitGrace = cmp.Or(c.InitGrace, 10*time.Second)
	c.KeepInterval = cmp.Or(c.KeepInterval, time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	switch {
	case c.Vault == nil:
		return c, errors.New("Config.Vault is required")
	case c.Records == nil:
		return c, errors.New("Config.Records is required")
	case c.InstanceKey == nil:
		return c, errors.New("Config.InstanceKey is required")
	case c.PasswordFile == "":
		return c, errors.New("Config.PasswordFile is required")
	case c.InitGrace < 0:
		return c, fmt.Errorf("Config.InitGrace is negative: %s", c.InitGrace)
	case c.KeepInterval < 0:
		return c, fmt.Errorf("Config.KeepInterval is negative: %s", c.KeepInterval)
	}
	if slices.Contains(c.FormerShareRecords, nil) {
		return c, errors.New("Config.FormerShareRecords has a nil")
	}
	return c, errors.Join(checkShares(c.Shares, c.Threshold), checkShareRecords(c.ShareRecords, 0, 1), c.Argon2id.check())
}

// A Manager looks after the internal Vault of one node: it initialises and unseals it,
// sets it up, and logs services in. Its methods may be called concurrently. Printing
// it, with any verb, shows no secret.
type Manager struct {
	cfg       Config
	log       *slog.Logger
	anonymous *vaultclient.Client // sends no token
	kdf       kdfCache
	count     *counts

	rootPatience, saveTime, leaderTime, shareTime, proveTime time.Duration // less in tests

	changing chan struct{} // holds a place while the installation's state is changed
	closed   chan struct{} // closed by Close
	closing  sync.Once

	mu         sync.Mutex // of what follows
	password   *secret
	generation uint32 // of password; 0 before there is a record
	session    *session
	unsealErr  error // of the last try
}

// New returns a Manager. It checks the configuration and does no input or output.
func New(cfg Config) (*Manager, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if cfg.Vault, err = ownClient(cfg.Vault); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	client, err := vaultclient.New(vaultclient.Config{Client: cfg.Vault, PlaintextHosts: cfg.PlaintextHosts, Logger: cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	count, err := newCounts(cfg.MeterProvider)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return &Manager{
		count: count,
		cfg:   cfg, log: cfg.Logger, rootPatience: defaultRootPatience, saveTime: defaultSaveTime, leaderTime: defaultLeaderTime, shareTime: defaultShareTime, proveTime: defaultProveTime,
		changing: make(chan struct{}, 1), closed: make(chan struct{}),
		anonymous: client.WithToken(func() string { return "" }),
	}, nil
}

// Format names the password file.
func (m *Manager) Format(f fmt.State, _ rune) {
	io.WriteString(f, "seal manager of "+m.cfg.PasswordFile)
}

// Close wipes what the Manager holds in memory. Vault stays as it is. The Manager, and
// the clients that it has given out, are of no use afterwards, and KeepUnsealed ends. A
// change that is under way is waited for.
func (m *Manager) Close() {
	m.changing <- struct{}{}
	defer func() { <-m.changing }()
	m.closing.Do(func() { close(m.closed) })
	m.mu.Lock()
	session := m.session
	m.mu.Unlock() // it may need the lock to come to its end
	if session != nil {
		session.close()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.password.wipe()
	m.password = nil
	m.kdf.close()
}

// errClosed is what a Manager is good for after Close.
var errClosed = errors.New("the Manager is closed")

func (m *Manager) isClosed() bool {
	select {
	case <-m.closed:
		return true
	default:
		return false
	}
}

// exclusive calls f while nobody else changes the installation's state through this
// Manager. what names it in errors.
func (m *Manager) exclusive(ctx context.Context, what string, f func() error) error {
	err := ctx.Err()
	select {
	case m.changing <- struct{}{}:
		defer func() { <-m.changing }()
		if m.isClosed() {
			err = errClosed
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil {
		err = f()
	}
	if err == nil {
		return nil
	}
	if advice := advice(err); advice != "" {
		return fmt.Errorf("seal: %s: %w; %s", what, err, advice)
	}
	return fmt.Errorf("seal: %s: %w", what, err)
}

// withToken returns a client that sends this token.
func (m *Manager) withToken(token []byte) *vaultclient.Client {
	return m.anonymous.WithToken(func() string { return string(token) })
}
