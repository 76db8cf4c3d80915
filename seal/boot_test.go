package seal

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/internal/devvault"
	"github.com/atrest/atrest/transit"

	"github.com/atrest/atrest"
)

// fixedKey is an instance key that is in memory.
type fixedKey byte

func (k fixedKey) InstanceKey(context.Context) ([]byte, error) { return keyOf(byte(k)), nil }

// bareVault starts a Vault that nobody has initialised.
func bareVault(t *testing.T) *devvault.Server {
	t.Helper()
	return devvault.StartForTest(t, devvault.Options{Bare: true, StorageDir: t.TempDir()})
}

// newNode returns a manager of a machine of its own, for which a guess costs nothing.
func newNode(t *testing.T, vault *devvault.Server, records backend.Records, change ...func(*Config)) *Manager {
	t.Helper()
	m := newRealNode(t, vault, records, change...)
	m.kdf.cheap, m.cfg.Argon2id = true, cheapParams
	return m
}

// newRealNode is newNode with the default Argon2id.
func newRealNode(t *testing.T, vault *devvault.Server, records backend.Records, change ...func(*Config)) *Manager {
	t.Helper()
	client, err := vault.Client()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Vault: client, Records: records, InstanceKey: fixedKey(1),
		PasswordFile: filepath.Join(t.TempDir(), "node", "password"), InitGrace: 100 * time.Millisecond,
	}
	for _, f := range change {
		f(&cfg)
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func mustBoot(t *testing.T, m *Manager, password string) {
	t.Helper()
	var given []byte
	if password != "" {
		given = []byte(password)
	}
	if err := m.Boot(t.Context(), given); err != nil {
		t.Fatal(err)
	}
}

// wantService wraps a data key as a service does.
func wantService(t *testing.T, m *Manager) {
	t.Helper()
	client, err := m.Client()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := transit.Open(t.Context(), transit.Config{Client: client, Key: "atrest"})
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := keys.Wrap(t.Context(), []byte("data key"), []byte("context"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := keys.Unwrap(t.Context(), wrapped, []byte("context")); err != nil || string(got) != "data key" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestBoot(t *testing.T) {
	t.Parallel()
	vault, records := bareVault(t), memory.NewRecords()
	m := newRealNode(t, vault, records)
	if err := m.Boot(t.Context(), nil); !errors.Is(err, atrest.ErrPasswordMissing) || !errors.Is(err, atrest.ErrRecordMissing) {
		t.Errorf("first boot without a password: %v", err)
	}
	mustBoot(t, m, testPassword)
	wantService(t, m)
	mustBoot(t, m, "") // once more
	wantService(t, m)
	if err := vault.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustBoot(t, m, "")
	wantService(t, m)
	// Another machine has nothing but the database and the password.
	other := newRealNode(t, vault, records, func(c *Config) { c.InstanceKey = fixedKey(2) })
	if err := other.Boot(t.Context(), nil); !errors.Is(err, atrest.ErrPasswordMissing) || errors.Is(err, atrest.ErrRecordMissing) {
		t.Errorf("another machine without the password: %v", err)
	}
	if err := other.Boot(t.Context(), []byte("wrong "+testPassword)); !errors.Is(err, atrest.ErrWrongPassword) {
		t.Errorf("a wrong password: %v", err)
	}
	mustBoot(t, other, testPassword)
	wantService(t, other)
}

func TestTenNodesBootAtOnce(t *testing.T) {
	t.Parallel()
	vault, records := bareVault(t), memory.NewRecords()
	var nodes []*Manager
	for range 10 {
		nodes = append(nodes, newNode(t, vault, records))
	}
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, m := range nodes {
		wg.Go(func() { errs[i] = m.Boot(t.Context(), []byte(testPassword)) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("node %d: %v", i, err)
			continue
		}
		wantService(t, nodes[i])
	}
	for name, err := range records.ListRecords(t.Context(), "") {
		if err != nil || name != sealRecordName {
			t.Errorf("record %q, %v", name, err)
		}
	}
}

// TestNoRootTokenStays asks for the accessors of all tokens.
func TestNoRootTokenStays(t *testing.T) {
	t.Parallel()
	vault, records := bareVault(t), memory.NewRecords()
	m := newNode(t, vault, records)
	mustBoot(t, m, testPassword)
	err := m.GenerateRoot(t.Context(), func(ctx context.Context, token []byte) error {
		if !strings.HasPrefix(string(token), "hvs.") {
			t.Errorf("a token of %d bytes that does not look like one", len(token))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
