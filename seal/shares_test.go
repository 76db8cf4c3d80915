package seal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
)

// TestShareRecords splits the unseal key into three shares in three databases, of which
// two are needed.
func TestShareRecords(t *testing.T) {
	t.Parallel()
	vault, records, stores := bareVault(t), memory.NewRecords(), newShareStores(3)
	m := newNode(t, vault, records, apart(3, 2, stores.records()))
	mustBoot(t, m, testPassword)
	first := currentSet(t, m)
	stores.want(t, map[setID]string{first: "1|2|3"})

	// One database is lost: nothing happens, but that Status says so.
	stores.lost[0].Store(true)
	mustRestart(t, vault)
	mustBoot(t, m, "")
	wantService(t, m)
	if got := m.Status(t.Context()); got.Broken != "" || got.LostShares != 1 || !strings.Contains(got.String(), "Rekey") {
		t.Errorf("Status with one database lost: %+v, %s", got, got)
	}
	// What can't be read would be lost for good.
	if err := m.ChangePassword(t.Context(), []byte(otherPassword)); !errors.Is(err, errFewShares) || !strings.Contains(err.Error(), "Rekey") {
		t.Errorf("ChangePassword with one database lost = %v", err)
	}
	// Two are: it says which, and what to do.
	stores.lost[1].Store(true)
	mustRestart(t, vault)
	if err := m.Boot(t.Context(), nil); !errors.Is(err, atrest.ErrUnavailable) || !strings.Contains(err.Error(), "1 of 3") || !strings.Contains(err.Error(), "ShareRecords[1]") {
		t.Errorf("Boot with two databases lost = %v", err)
	}
	if got := m.Status(t.Context()); got.Broken != LinkShares || !errors.Is(got.Err, atrest.ErrUnavailable) || !strings.Contains(got.Remedy, "databases") {
		t.Errorf("Status with two databases lost: %+v", got)
	}
	stores.lost[0].Store(false)
	stores.lost[1].Store(false)
	mustBoot(t, m, "")

	// The set of before stays until the change after.
	mustChangePassword(t, m, otherPassword)
	second := currentSet(t, m)
	stores.want(t, map[setID]string{first: "1|2|3", second: "1|2|3"})
	mustRekey(t, m, 6, 3)
	third := currentSet(t, m)
	stores.want(t, map[setID]string{second: "1|2|3", third: "1 4|2 5|3 6"})
	mustRestart(t, vault)
	recovered := newNode(t, vault, records, func(c *Config) {
		all := stores.records()
		c.ShareRecords = []backend.Records{all[2], all[0], all[1]} // in another order
	})
	if err := recovered.Recover(t.Context(), []byte(otherPassword)); err != nil {
		t.Fatal(err)
	}
	wantService(t, recovered)
	if got := recovered.Status(t.Context()); got.Broken != "" || got.LostShares != 0 {
		t.Errorf("Status: %+v", got)
	}
}

// TestShareRecordsMove changes over to databases of their own, from these to others, and back
// into the seal record.
func TestShareRecordsMove(t *testing.T) {
	t.Parallel()
	vault, records := bareVault(t), memory.NewRecords()
	plain := newNode(t, vault, records)
	mustBoot(t, plain, testPassword)
	old, next := newShareStores(1), newShareStores(3)
	first := newNode(t, vault, records, func(c *Config) { c.ShareRecords = old.records() })
	mustBoot(t, first, testPassword)
	if err := first.RotateSecretID(t.Context()); err != nil {
		t.Fatal(err)
	}
	old.want(t, nil) // neither Rekey nor ChangePassword was called
	mustChangePassword(t, first, otherPassword)
	old.want(t, map[setID]string{currentSet(t, first): "1"})
	if err := plain.Boot(t.Context(), []byte(otherPassword)); err != nil {
		t.Fatal(err) // it needs no unseal key
	}
	mustRestart(t, vault)
	if err := plain.Boot(t.Context(), nil); !errors.Is(err, atrest.ErrRecordMissing) || !strings.Contains(err.Error(), "Config.ShareRecords") {
		t.Errorf("Boot of a node that knows no shares = %v", err)
	}
	second := newNode(t, vault, records, func(c *Config) { c.ShareRecords, c.FormerShareRecords = next.records(), old.records() })
	mustBoot(t, second, otherPassword)
	if err := second.ChangePassword(t.Context(), []byte(testPassword)); !errors.Is(err, atrest.ErrUnsupported) {
		t.Errorf("one share for three databases: %v", err)
	}
	mustRekey(t, second, 3, 2)
	next.want(t, map[setID]string{currentSet(t, second): "1|2|3"})
	mustRestart(t, vault)
	third := newNode(t, vault, records, func(c *Config) { c.FormerShareRecords = next.records() })
	mustBoot(t, third, otherPassword)
	old.lost[0].Store(true)
	mustRekey(t, third, 1, 1)
	mustRestart(t, vault)
	mustBoot(t, plain, "")
	wantService(t, plain)
}

// TestShareRecordsRefused is about databases that can't be used so.
func TestShareRecordsRefused(t *testing.T) {
	t.Parallel()
	vault, stores := bareVault(t), newShareStores(3).records()
	for name, change := range map[string]func(*Config){
		"nil":           apart(3, 2, []backend.Records{stores[0], nil, stores[2]}),
		"former nil":    func(c *Config) { c.FormerShareRecords = []backend.Records{nil} },
		"one twice":     apart(2, 2, []backend.Records{stores[0], stores[0]}),
		"three in two":  apart(3, 2, stores[:2]),
		"one in two":    apart(1, 1, stores[:2]),
		"five of three": apart(5, 2, stores),
	} {
		cfg := newNode(t, vault, memory.NewRecords()).cfg
		change(&cfg)
		m, err := New(cfg)
		if err == nil {
			err = m.Boot(t.Context(), []byte(testPassword))
			m.Close()
		}
		if err == nil {
			t.Fatalf("%s: no error", name)
		}
	}
	mustBoot(t, newNode(t, vault, memory.NewRecords()), testPassword) // nothing was initialised
}

// TestSharesOfOthers has two installations use the same databases, in which somebody
// else has a record, too.
func TestSharesOfOthers(t *testing.T) {
	t.Parallel()
	stores := newShareStores(3)
	vault := bareVault(t)
	one := newNode(t, vault, memory.NewRecords(), apart(3, 2, stores.records()))
	mustBoot(t, one, testPassword)
	if _, err := stores.memory[0].PutRecord(t.Context(), "share-price", []byte("42"), ""); err != nil {
		t.Fatal(err)
	}
	two := newNode(t, bareVault(t), memory.NewRecords(), apart(3, 2, stores.records()))
	mustBoot(t, two, testPassword)
	for range 3 {
		mustRekey(t, two, 3, 2)
	}
	if _, err := stores.memory[0].GetRecord(t.Context(), "share-price"); err != nil {
		t.Error(err)
	}
	mustRestart(t, vault)
	mustBoot(t, one, "")
}

// TestSharesStay changes the password again and again: each database sees but one share.
func TestSharesStay(t *testing.T) {
	t.Parallel()
	stores := newShareStores(3)
	m := newNode(t, bareVault(t), memory.NewRecords(), apart(3, 2, stores.records()))
	mustBoot(t, m, testPassword)
	seen := map[string]bool{}
	for n := range 5 {
		mustChangePassword(t, m, fmt.Sprint("password number ", n))
		s, err := m.reopen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		stored, err := stores.memory[0].GetRecord(t.Context(), shareName(s.keys.set, 1))
		if err != nil {
			t.Fatal(err)
		}
		value, err := m.openShare(stored.Data, s.keys.header, s.keys.set, 1, m.password)
		if err != nil {
			t.Fatal(err)
		}
		seen[string(value.bytes())] = true
		for what, err := range map[string]error{
			"in another's place": second(m.openShare(stored.Data, s.keys.header, s.keys.set, 2, m.password)),
			"of another set":     second(m.openShare(stored.Data, s.keys.header, newAttemptID(), 1, m.password)),
			"none":               second(m.openShare([]byte("no record"), s.keys.header, s.keys.set, 1, m.password)),
		} {
			if !errors.Is(err, atrest.ErrCorruptRecord) {
				t.Errorf("a share %s: %v", what, err)
			}
		}
	}
	if len(seen) != 1 {
		t.Errorf("the first database has seen %d shares", len(seen))
	}
}

func second[T any](_ T, err error) error { return err }

// TestOldSealRecord restores an older record by mistake, of the midst of a rotation. Nothing is
// lost by it: the right one still works.
func TestOldSealRecord(t *testing.T) {
	t.Parallel()
	vault, stores, records := bareVault(t), newShareStores(3), memory.NewRecords()
	m := newNode(t, vault, records, apart(3, 2, stores.records()))
	mustBoot(t, m, testPassword)
	s, err := m.reopen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.putCurrent(t.Context(), &sealed{s.revision, s.header, &payload{keys: s.keys, appRole: s.appRole, nextAppRole: s.appRole}}); err != nil {
		t.Fatal(err)
	}
	old, err := records.GetRecord(t.Context(), sealRecordName)
	if err != nil {
		t.Fatal(err)
	}
	mustBoot(t, m, "")
	mustRekey(t, m, 3, 2)
	mustRekey(t, m, 3, 2)
	right, err := records.GetRecord(t.Context(), sealRecordName)
	if err != nil {
		t.Fatal(err)
	}
	put := func(data []byte) {
		t.Helper()
		now, err := records.GetRecord(t.Context(), sealRecordName)
		if err == nil {
			_, err = records.PutRecord(t.Context(), sealRecordName, data, now.Revision)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put(old.Data)
	for _, change := range []func() error{
		func() error { return m.Boot(t.Context(), nil) },
		func() error { return m.ChangePassword(t.Context(), []byte(otherPassword)) },
		func() error { return m.Rekey(t.Context(), 3, 2) },
	} {
		if err := change(); err == nil {
			t.Error("an old seal record serves")
		}
	}
	put(right.Data)
	mustRestart(t, vault)
	mustBoot(t, newNode(t, vault, records, apart(3, 2, stores.records())), testPassword)
}

// TestLastChangeLost has the main database come back without its last change, as after a
// failover to a standby that was behind.
func TestLastChangeLost(t *testing.T) {
	t.Parallel()
	vault, stores, records := bareVault(t), newShareStores(3), memory.NewRecords()
	m := newNode(t, vault, records, apart(3, 2, stores.records()))
	mustBoot(t, m, testPassword)
	mustRekey(t, m, 3, 2)
	old, err := records.GetRecord(t.Context(), sealRecordName)
	if err != nil {
		t.Fatal(err)
	}
	mustChangePassword(t, m, otherPassword)
	now, err := records.GetRecord(t.Context(), sealRecordName)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := records.PutRecord(t.Context(), sealRecordName, old.Data, now.Revision); err != nil {
		t.Fatal(err)
	}
	mustRestart(t, vault)
	mustBoot(t, newNode(t, vault, records, apart(3, 2, stores.records())), testPassword)
}

// TestSharesReplacedMeanwhile has a put that names a set that is gone fail.
func TestSharesReplacedMeanwhile(t *testing.T) {
	t.Parallel()
	vault, records, stores := bareVault(t), lockless{memory.NewRecords()}, newShareStores(2)
	one, two := newNode(t, vault, records, apart(2, 2, stores.records())), newNode(t, vault, records, apart(2, 2, stores.records()))
	mustBoot(t, one, testPassword)
	mustBoot(t, two, testPassword)
	seen, err := two.reopen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustRekey(t, one, 2, 2)
	mustRekey(t, one, 2, 2)
	if err := two.gather(t.Context(), seen.keys); !errors.Is(err, atrest.ErrRecordMissing) {
		t.Errorf("a set that is gone: %v", err)
	}
	if _, err := two.putCurrent(t.Context(), seen); !errors.Is(err, atrest.ErrConflict) {
		t.Errorf("a put that names it: %v", err)
	}
	mustRestart(t, vault)
	mustBoot(t, two, "")
	wantService(t, two)
}

// TestPendingSharesLost lets a rekey die before Vault has changed over, and loses what it has
// written. The old key is whole, and in use.
func TestPendingSharesLost(t *testing.T) {
	t.Parallel()
	vault, stores, records := bareVault(t), newShareStores(3), memory.NewRecords()
	m, g := newGated(t, vault, records)
	mustBoot(t, m, testPassword)
	g.path = "/sys/rekey/verify"
	m.cfg.ShareRecords = stores.records()
	g.set(true)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-g.reached; cancel() }()
	if err := m.Rekey(ctx, 3, 2); !errors.Is(err, context.Canceled) {
		t.Fatalf("Rekey = %v", err)
	}
	g.set(false)
	stores.lost[1].Store(true)
	stores.lost[2].Store(true)
	mustRestart(t, vault)
	mustBoot(t, m, "")
	m.cfg.ShareRecords = nil
	mustRekey(t, m, 1, 1)
}

// TestCandidateIsRemoved has the removal fail. The next change makes up for it.
func TestCandidateIsRemoved(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(m *Manager) error{
		"secret id": func(m *Manager) error { return m.RotateSecretID(t.Context()) },
		"password":  func(m *Manager) error { return m.ChangePassword(t.Context(), []byte(otherPassword)) },
		"rekey":     func(m *Manager) error { return m.Rekey(t.Context(), 1, 1) },
	} {
		records := &stubborn{Records: memory.NewRecords()}
		records.on.Store(true)
		m := newNode(t, bareVault(t), records)
		mustBoot(t, m, testPassword)
		records.on.Store(false)
		if names, err := m.candidates(t.Context()); err != nil || len(names) != 1 {
			t.Fatalf("%q, %v", names, err)
		}
		if err := change(m); err != nil {
			t.Fatal(err)
		}
		if names, err := m.candidates(t.Context()); err != nil || len(names) != 0 {
			t.Errorf("after a change of the %s: %q, %v", name, names, err)
		}
	}
}

// stubborn are records that remove none.
type stubborn struct {
	backend.Records
	on atomic.Bool
}

func (s *stubborn) DeleteRecord(ctx context.Context, name string, old backend.Revision) error {
	if s.on.Load() {
		return atrest.ErrUnavailable
	}
	return s.Records.DeleteRecord(ctx, name, old)
}

// TestHangingShareRecords has one of three databases not answer. It holds up
// nobody for longer than its time.
func TestHangingShareRecords(t *testing.T) {
	t.Parallel()
	vault := bareVault(t)
	h := &hanging{Records: memory.NewRecords(), released: make(chan struct{})}
	m := newNode(t, vault, memory.NewRecords(), apart(3, 2, []backend.Records{memory.NewRecords(), memory.NewRecords(), h}))
	m.shareTime = 200 * time.Millisecond
	h.on.Store(true)
	// The first boot needs all of them, and says so; the key is safe meanwhile.
	if err := m.Boot(t.Context(), []byte(testPassword)); !errors.Is(err, atrest.ErrUnavailable) || !strings.Contains(err.Error(), "ShareRecords[2]") {
		t.Fatalf("first Boot = %v", err)
	}
	h.on.Store(false)
	mustBoot(t, m, "")
	h.on.Store(true)
	for name, f := range map[string]func() error{
		"RotateSecretID": func() error { return m.RotateSecretID(t.Context()) },
		"Status":         func() error { return m.Status(t.Context()).Err },
		"Boot":           func() error { mustRestart(t, vault); return m.Boot(t.Context(), nil) },
	} {
		began := time.Now()
		if err := f(); err != nil || time.Since(began) > 20*time.Second {
			t.Errorf("%s: %v after %v", name, err, time.Since(began))
		}
	}
	h.deaf.Store(true)
	for name, f := range map[string]func() error{
		"Status": func() error { return m.Status(t.Context()).Err },
		"Boot":   func() error { mustRestart(t, vault); return m.Boot(t.Context(), nil) },
	} {
		began := time.Now()
		if err := f(); err != nil || time.Since(began) > 20*time.Second {
			t.Errorf("%s, deaf: %v after %v", name, err, time.Since(began))
		}
	}
	deaf := m.cfg // with new databases that do not answer yet
	deaf.ShareRecords, deaf.FormerShareRecords = []backend.Records{h}, m.cfg.ShareRecords[:2]
	m.cfg = deaf
	for name, f := range map[string]func() error{
		"Boot":  func() error { mustRestart(t, vault); return m.Boot(t.Context(), nil) },
		"Rekey": func() error { return m.Rekey(t.Context(), 1, 1) },
	} {
		began := time.Now()
		if err := f(); (err == nil) != (name == "Boot") || time.Since(began) > 20*time.Second {
			t.Errorf("%s with databases that are new: %v after %v", name, err, time.Since(began))
		}
	}
	close(h.released)
}

// TestCostlyShare puts in a share's place one that would take a minute and a gigabyte to open.
func TestCostlyShare(t *testing.T) {
	t.Parallel()
	vault, stores := bareVault(t), newShareStores(3)
	m := newNode(t, vault, memory.NewRecords(), apart(3, 2, stores.records()))
	mustBoot(t, m, testPassword)
	name := shareName(currentSet(t, m), 1)
	stored, err := stores.memory[0].GetRecord(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := parseRecord(stored.Data)
	if err != nil {
		t.Fatal(err)
	}
	r.params, r.salt = Argon2id{Passes: 4, MemoryKiB: 1 << 20, Lanes: 1}, newSalt()
	if _, err := stores.memory[0].PutRecord(t.Context(), name, r.marshal(), stored.Revision); err != nil {
		t.Fatal(err)
	}
	m.kdf.keys = nil
	if got := m.Status(t.Context()); got.Broken != "" || got.LostShares != 1 {
		t.Errorf("Status = %+v", got)
	}
	for _, k := range m.kdf.keys {
		if k.params.MemoryKiB > 1<<18 {
			t.Error("it was computed")
		}
	}
}
