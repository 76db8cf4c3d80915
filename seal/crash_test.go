package seal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/internal/devvault"
	"github.com/atrest/atrest/internal/vaultclient"

	"github.com/atrest/atrest"
)

var errDead = errors.New("this process is dead")

// A mortal is a process that dies at its n-th step, of which each request to Vault and
// each call of the records has two: before, and after it was done but not yet answered.
// Who is dead does nothing any more.
type mortal struct {
	mu   sync.Mutex
	left int // steps; negative: immortal
	dead bool
	last string // what it died of
	seen []string
}

// step reports whether the process is dead.
func (d *mortal) step(what string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left == 0 && !d.dead {
		d.dead, d.last = true, what
	}
	d.left--
	d.seen = append(d.seen, what)
	if d.dead {
		return errDead
	}
	return nil
}

func (d *mortal) isDead() (bool, string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dead, d.last
}

type mortalTransport struct {
	*mortal
	next http.RoundTripper
}

func (m mortalTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	what := r.Method + " " + r.URL.Path
	if err := m.step("before " + what); err != nil {
		return nil, err
	}
	resp, err := m.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if err := m.step("after " + what); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

type mortalRecords struct {
	*mortal
	backend.Records
}

func (m mortalRecords) GetRecord(ctx context.Context, name string) (r backend.Record, err error) {
	if err = m.step("before get " + name); err == nil {
		r, err = m.Records.GetRecord(ctx, name)
	}
	return r, err // to die after a read is to die before the next step
}

func (m mortalRecords) PutRecord(ctx context.Context, name string, data []byte, old backend.Revision) (rev backend.Revision, err error) {
	if err = m.step("before put " + name); err == nil {
		if rev, err = m.Records.PutRecord(ctx, name, data, old); err == nil {
			err = m.step("after put " + name)
		}
	}
	return rev, err
}

func (m mortalRecords) DeleteRecord(ctx context.Context, name string, old backend.Revision) (err error) {
	if err = m.step("before delete " + name); err == nil {
		if err = m.Records.DeleteRecord(ctx, name, old); err == nil {
			err = m.step("after delete " + name)
		}
	}
	return err
}

func (m mortalRecords) ListRecords(ctx context.Context, prefix string) iter.Seq2[string, error] {
	if err := m.step("before list"); err != nil {
		return func(yield func(string, error) bool) { yield("", err) }
	}
	return m.Records.ListRecords(ctx, prefix)
}

func (m mortalRecords) LockRecords(ctx context.Context, name string) (context.Context, func(), error) {
	if err := m.step("before lock"); err != nil {
		return nil, nil, err
	}
	return m.Records.LockRecords(ctx, name)
}

// A rig is a database, a Vault and the disk of a machine, which outlive processes.
type rig struct {
	vault     *devvault.Server
	vaultDir  string
	records   *memory.Records
	shares    []*memory.Records // none: within the seal record
	passwords string            // path of the password file
}

// apart has the unseal key be kept in three shares.
func (r *rig) apart() *rig {
	for range 3 {
		r.shares = append(r.shares, memory.NewRecords())
	}
	return r
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	return &rig{
		vault:    devvault.StartForTest(t, devvault.Options{Bare: true, StorageDir: dir}),
		vaultDir: dir, records: memory.NewRecords(), passwords: filepath.Join(t.TempDir(), "node", "password"),
	}
}

// process starts a process that dies at its n-th step.
func (r *rig) process(t *testing.T, n int) (*Manager, *mortal) {
	t.Helper()
	life := &mortal{left: n}
	client, err := r.vault.Client()
	if err != nil {
		t.Fatal(err)
	}
	config := client.CloneConfig()
	config.HttpClient.Transport = mortalTransport{life, config.HttpClient.Transport}
	m := newNode(t, r.vault, mortalRecords{life, r.records}, func(c *Config) {
		c.PasswordFile, c.InitGrace = r.passwords, time.Millisecond
		for _, records := range r.shares {
			c.Shares, c.Threshold = 3, 2
			c.ShareRecords = append(c.ShareRecords, mortalRecords{life, records})
		}
		if c.Vault, err = apiClient(config); err != nil {
			t.Fatal(err)
		}
	})
	m.kdf.cheap, m.cfg.Argon2id, m.rootPatience, m.saveTime, m.leaderTime = true, cheapParams, time.Millisecond, 3*time.Second, 5*time.Second
	once, err := vaultclient.New(vaultclient.Config{Client: m.cfg.Vault, MaxTries: 1})
	if err != nil {
		t.Fatal(err)
	}
	m.anonymous = once.WithToken(func() string { return "" })
	return m, life
}

// wipeVault is the storage of a Vault in a directory, for ResetInterrupted.
type wipeVault string

func (dir wipeVault) Wipe(_ context.Context, expected func([]string) bool) error {
	root := filepath.Join(string(dir), "data")
	var paths []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(root, path)
			paths = append(paths, filepath.ToSlash(filepath.Join(filepath.Dir(rel), filepath.Base(rel)[1:]))) // files begin with "_"
		}
		return err
	})
	if err != nil {
		return err
	}
	if !expected(paths) {
		return fmt.Errorf("not what was expected: %q", paths)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(root, e.Name())))
	}
	return err
}

// TestBootDies lets a first boot die at each of its steps. The next boot, of the same
// machine, ends well; but for the one state that takes ResetInterrupted.
func TestBootDies(t *testing.T) {
	t.Parallel()
	m, life := newRig(t).process(t, -1)
	mustBoot(t, m, testPassword)
	steps := len(life.seen)
	if steps < 20 {
		t.Fatalf("a boot has but %d steps", steps)
	}
	for n := range steps {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			bootDies(t, newRig(t), n)
		})
	}
	apart, life := newRig(t).apart().process(t, -1)
	mustBoot(t, apart, testPassword)
	for n, what := range life.seen {
		if strings.Contains(what, sharePrefix) {
			t.Run(fmt.Sprintf("shares %d", n), func(t *testing.T) {
				t.Parallel()
				bootDies(t, newRig(t).apart(), n)
			})
		}
	}
}

func bootDies(t *testing.T, r *rig, n int) {
	m, life := r.process(t, n)
	err := m.Boot(t.Context(), []byte(testPassword))
	dead, what := life.isDead()
	if err == nil || !dead {
		t.Fatalf("it lives: %v", err)
	}
	again, _ := r.process(t, -1)
	err = again.Boot(t.Context(), []byte(testPassword))
	if errors.Is(err, atrest.ErrInitInterrupted) {
		if what != "after PUT /v1/sys/init" && !strings.HasPrefix(what, "before put init-") {
			t.Errorf("died %s: %v", what, err)
		}
		err = again.ResetInterrupted(t.Context(), wipeVault(r.vaultDir), r.vault.Restart)
	}
	if err != nil {
		t.Fatalf("died %s: %v", what, err)
	}
	wantService(t, again)
	r.wantNoLeftShares(t, again)
}

// wantNoLeftShares checks that the next change removes what runs that died have written.
func (r *rig) wantNoLeftShares(t *testing.T, m *Manager) {
	t.Helper()
	if r.shares == nil {
		return
	}
	before, err := m.reopen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Rekey(t.Context(), 3, 2); err != nil {
		t.Fatal(err)
	}
	after, err := m.reopen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	(&shareStores{memory: r.shares}).want(t, map[setID]string{before.keys.set: "1|2|3", after.keys.set: "1|2|3"})
}

// TestRotationsDie lets each rotation die at each of its steps. Whatever it had done, a
// boot without a password by the same machine ends well, also after a restart of
// Vault, and the rotation can be done again.
func TestRotationsDie(t *testing.T) {
	t.Parallel()
	var passwords atomic.Int32
	password := func(ctx context.Context, m *Manager) error {
		return m.ChangePassword(ctx, fmt.Appendf(nil, "another password %d", passwords.Add(1)))
	}
	shares := func(ctx context.Context, m *Manager) error { return m.Rekey(ctx, 3, 2) }
	for name, c := range map[string]struct {
		rotate func(ctx context.Context, m *Manager) error
		rig    func(t *testing.T) *rig
		only   string // steps
	}{
		"password":        {password, newRig, ""},
		"password, apart": {password, newApartRig, sharePrefix},
		"unseal key":      {func(ctx context.Context, m *Manager) error { return m.Rekey(ctx, 1, 1) }, newRig, ""},
		"shares":          {shares, newRig, ""},
		"shares, apart":   {shares, newApartRig, sharePrefix},
		"secret id":       {func(ctx context.Context, m *Manager) error { return m.RotateSecretID(ctx) }, newRig, ""},
		"root": {func(ctx context.Context, m *Manager) error {
			return m.GenerateRoot(ctx, func(context.Context, []byte) error { return nil })
		}, newRig, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, life := booted(t, c.rig(t)).process(t, -1)
			if err := c.rotate(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			if steps := len(life.seen); steps < 5 {
				t.Fatalf("it has but %d steps", steps)
			}
			for n, what := range life.seen {
				if strings.Contains(what, c.only) {
					t.Run(fmt.Sprint(n), func(t *testing.T) {
						t.Parallel()
						rotationDies(t, booted(t, c.rig(t)), n, c.rotate)
					})
				}
			}
		})
	}
}

func newApartRig(t *testing.T) *rig { return newRig(t).apart() }

func booted(t *testing.T, r *rig) *rig {
	t.Helper()
	first, _ := r.process(t, -1)
	mustBoot(t, first, testPassword)
	first.Close()
	return r
}

func rotationDies(t *testing.T, r *rig, n int, rotate func(ctx context.Context, m *Manager) error) {
	m, life := r.process(t, n)
	err := rotate(t.Context(), m)
	dead, what := life.isDead()
	if !dead {
		t.Fatalf("it lives: %v", err)
	}
	if n%2 == 0 {
		if err := r.vault.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	again, _ := r.process(t, -1)
	if err := again.Boot(t.Context(), nil); err != nil {
		t.Fatalf("died %s: %v", what, err)
	}
	wantService(t, again)
	if err := rotate(t.Context(), again); err != nil {
		t.Fatalf("died %s, again: %v", what, err)
	}
	wantService(t, again)
	r.wantNoLeftShares(t, again)
}
