package seal

import (
	"errors"
	"strings"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
)

// shareStores are records of which each can be lost.
type shareStores struct {
	memory []*memory.Records
	lost   []bool
}

func newShareStores(n int) *shareStores {
	s := &shareStores{lost: make([]bool, n)}
	for range n {
		s.memory = append(s.memory, memory.NewRecords())
	}
	return s
}

func (s *shareStores) records() (all []backend.Records) {
	for i, records := range s.memory {
		get := func(string) error {
			if s.lost[i] {
				return atrest.ErrUnavailable
			}
			return nil
		}
		all = append(all, &flaky{Records: records, get: get, put: get})
	}
	return all
}

func (s *shareStores) names(t *testing.T) (all [][]string) {
	t.Helper()
	for _, records := range s.memory {
		var names []string
		for name, err := range records.ListRecords(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
		}
		all = append(all, names)
	}
	return all
}

// wantOneSet checks that there is one set of shares, and which numbers each store has.
func (s *shareStores) wantOneSet(t *testing.T, want ...string) (set string) {
	t.Helper()
	names := s.names(t)
	for i, numbers := range want {
		var have []string
		for _, name := range names[i] {
			at := strings.LastIndex(name, "-")
			if this := name[:at]; set == "" {
				set = this
			} else if this != set {
				t.Errorf("shares of two sets: %q", names)
			}
			have = append(have, name[at+1:])
		}
		if got := strings.Join(have, " "); got != numbers {
			t.Errorf("store %d has shares %q, want %q", i, got, numbers)
		}
	}
	return set
}

// TestShareRecords splits the unseal key into three shares in three databases, of which
// two are needed.
func TestShareRecords(t *testing.T) {
	t.Parallel()
	vault, records, stores := bareVault(t), memory.NewRecords(), newShareStores(3)
	m := newNode(t, vault, records, func(c *Config) {
		c.Shares, c.Threshold, c.ShareRecords = 3, 2, stores.records()
	})
	mustBoot(t, m, testPassword)
	first := stores.wantOneSet(t, "001", "002", "003")
	s, err := m.reopen(t.Context())
	if err != nil || s.keys.set == "" || len(s.keys.shares) != 0 || s.keys.count != 3 || s.keys.threshold != 2 {
		t.Fatalf("the seal record has the shares itself: %+v, %v", s, err)
	}
	restart := func() {
		t.Helper()
		if err := vault.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	// One database is lost: nothing happens, but that Status says so.
	stores.lost[0] = true
	restart()
	mustBoot(t, m, "")
	wantService(t, m)
	if got := m.Status(t.Context()); got.Broken != "" || got.LostShares != 1 || !strings.Contains(got.String(), "Rekey") {
		t.Errorf("Status with one database lost: %+v, %s", got, got)
	}
	// Two are: it says which, and what to do.
	stores.lost[1] = true
	restart()
	if err := m.Boot(t.Context(), nil); !errors.Is(err, atrest.ErrUnavailable) || !strings.Contains(err.Error(), "1 of the 3 shares") {
		t.Errorf("Boot with two databases lost = %v", err)
	}
	if got := m.Status(t.Context()); got.Broken != LinkShares || !errors.Is(got.Err, atrest.ErrUnavailable) || !strings.Contains(got.Remedy, "ShareRecords") {
		t.Errorf("Status with two databases lost: %+v", got)
	}
	stores.lost[1] = false
	mustBoot(t, m, "")

	// What is left carries on to a new set, of the number of shares that there are.
	next := "another password entirely"
	stores.lost[0] = false
	for name := range stores.memory[0].ListRecords(t.Context(), sharePrefix) {
		if err := removeRecord(t.Context(), stores.memory[0], name); err != nil { // lost for good
			t.Fatal(err)
		}
	}
	if err := m.ChangePassword(t.Context(), []byte(next)); err != nil {
		t.Fatal(err)
	}
	second := stores.wantOneSet(t, "001", "002", "")
	if second == first {
		t.Error("a new password, and the old shares")
	}
	if err := m.Rekey(t.Context(), 4, 3); err != nil {
		t.Fatal(err)
	}
	if third := stores.wantOneSet(t, "001 004", "002", "003"); third == second {
		t.Error("a new unseal key, and the old shares")
	}
	restart()
	recovered := newNode(t, vault, records, func(c *Config) {
		all := stores.records()
		c.ShareRecords = []backend.Records{all[2], all[0], all[1]} // in another order
	})
	mustBoot(t, recovered, next)
	wantService(t, recovered)
	if got := recovered.Status(t.Context()); got.Broken != "" || got.LostShares != 0 {
		t.Errorf("Status: %+v", got)
	}
}

// TestShareRecordsConfigured changes over to records of their own, and back.
func TestShareRecordsConfigured(t *testing.T) {
	t.Parallel()
	vault, records := bareVault(t), memory.NewRecords()
	m := newNode(t, vault, records, func(c *Config) { c.Shares, c.Threshold = 2, 2 })
	mustBoot(t, m, testPassword)
	stores := newShareStores(1)
	with := newNode(t, vault, records, func(c *Config) { c.ShareRecords = stores.records() })
	mustBoot(t, with, testPassword)
	stores.wantOneSet(t, "")
	if err := with.ChangePassword(t.Context(), []byte("the second password")); err != nil {
		t.Fatal(err)
	}
	stores.wantOneSet(t, "001 002")
	if err := vault.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Boot(t.Context(), []byte("the second password")); !errors.Is(err, atrest.ErrRecordMissing) || !strings.Contains(err.Error(), "Config.ShareRecords") {
		t.Errorf("Boot of a node that knows no shares = %v", err)
	}
	mustBoot(t, with, "")
	s, err := with.reopen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := with.gather(t.Context(), s.keys); err != nil {
		t.Fatal(err)
	}
	if _, err := with.openShare([]byte("no record"), s.keys.set, 1, with.password); !errors.Is(err, atrest.ErrCorruptRecord) {
		t.Errorf("a share that is none: %v", err)
	}
	stored, err := stores.memory[0].GetRecord(t.Context(), shareName(s.keys.set, 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := with.openShare(stored.Data, s.keys.set, 2, with.password); !errors.Is(err, atrest.ErrCorruptRecord) {
		t.Errorf("a share in another's place: %v", err)
	}
	if _, err := with.openShare(stored.Data, newAttemptID(), 1, with.password); !errors.Is(err, atrest.ErrCorruptRecord) {
		t.Errorf("a share of another set: %v", err)
	}
}

// TestSharesReplacedMeanwhile has a set be replaced between a node's reading the
// seal record and its reading the shares, and lets a put with a set that was removed fail.
func TestSharesReplacedMeanwhile(t *testing.T) {
	t.Parallel()
	vault, records, stores := bareVault(t), lockless{memory.NewRecords()}, newShareStores(2)
	change := func(c *Config) { c.Shares, c.Threshold, c.ShareRecords = 2, 2, stores.records() }
	one, two := newNode(t, vault, records, change), newNode(t, vault, records, change)
	mustBoot(t, one, testPassword)
	mustBoot(t, two, testPassword)
	seen, err := two.reopen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Rekey(t.Context(), 2, 2); err != nil {
		t.Fatal(err)
	}
	if err := two.gather(t.Context(), seen.keys); !errors.Is(err, atrest.ErrRecordMissing) {
		t.Errorf("a set that is gone: %v", err)
	}
	if _, err := two.putCurrent(t.Context(), seen); !errors.Is(err, atrest.ErrConflict) {
		t.Errorf("a put that names it: %v", err)
	}
	if err := vault.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustBoot(t, two, "")
	wantService(t, two)
}
