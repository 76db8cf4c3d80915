package seal

import (
	"context"
	"iter"
	"maps"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/internal/devvault"
)

// shareStores are databases of which each can be lost, for a while.
type shareStores struct {
	memory []*memory.Records
	lost   []atomic.Bool
}

func newShareStores(n int) *shareStores {
	s := &shareStores{lost: make([]atomic.Bool, n)}
	for range n {
		s.memory = append(s.memory, memory.NewRecords())
	}
	return s
}

func (s *shareStores) records() (all []backend.Records) {
	for i, records := range s.memory {
		get := func(string) error {
			if s.lost[i].Load() {
				return atrest.ErrUnavailable
			}
			return nil
		}
		all = append(all, &flaky{Records: records, get: get, put: get})
	}
	return all
}

// sets are the sets that there are, with the numbers that each database has, as "1 4|2|3".
func (s *shareStores) sets(t *testing.T) map[setID]string {
	t.Helper()
	sets := map[setID]string{}
	for i, records := range s.memory {
		for name, err := range records.ListRecords(t.Context(), sharePrefix) {
			if err != nil {
				t.Fatal(err)
			}
			set, number, _ := strings.Cut(strings.TrimPrefix(name, sharePrefix), "-")
			text := sets[setID(set)]
			text += strings.Repeat("|", i-strings.Count(text, "|"))
			if text != "" && !strings.HasSuffix(text, "|") {
				text += " "
			}
			sets[setID(set)] = text + strings.TrimLeft(number, "0")
		}
	}
	for set, text := range sets {
		sets[set] = text + strings.Repeat("|", len(s.memory)-1-strings.Count(text, "|"))
	}
	return sets
}

func (s *shareStores) want(t *testing.T, want map[setID]string) {
	t.Helper()
	if got := s.sets(t); !maps.Equal(got, want) {
		t.Errorf("the databases have %v, want %v", got, want)
	}
}

// currentSet is the one that the seal record names.
func currentSet(t *testing.T, m *Manager) setID {
	t.Helper()
	s, err := m.reopen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.keys.set == "" || len(s.keys.shares) > 0 {
		t.Error("the seal record has the shares itself")
	}
	return s.keys.set
}

func apart(shares, threshold int, stores []backend.Records) func(*Config) {
	return func(c *Config) { c.Shares, c.Threshold, c.ShareRecords = shares, threshold, stores }
}

func mustRestart(t *testing.T, vault *devvault.Server) {
	t.Helper()
	if err := vault.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func mustRekey(t *testing.T, m *Manager, shares, threshold int) {
	t.Helper()
	if err := m.Rekey(t.Context(), shares, threshold); err != nil {
		t.Fatal(err)
	}
}

const otherPassword = "another password entirely"

func mustChangePassword(t *testing.T, m *Manager, password string) {
	t.Helper()
	if err := m.ChangePassword(t.Context(), []byte(password)); err != nil {
		t.Fatal(err)
	}
}

// hanging are records that do not answer while on, and that do not even hear of the end
// of a call if deaf.
type hanging struct {
	backend.Records
	on, deaf atomic.Bool
	released chan struct{}
}

func (h *hanging) hang(ctx context.Context) error {
	if !h.on.Load() {
		return nil
	}
	if h.deaf.Load() {
		<-h.released
		return atrest.ErrUnavailable
	}
	<-ctx.Done()
	return ctx.Err()
}

func (h *hanging) GetRecord(ctx context.Context, name string) (backend.Record, error) {
	if err := h.hang(ctx); err != nil {
		return backend.Record{}, err
	}
	return h.Records.GetRecord(ctx, name)
}

func (h *hanging) PutRecord(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error) {
	if err := h.hang(ctx); err != nil {
		return "", err
	}
	return h.Records.PutRecord(ctx, name, data, old)
}

func (h *hanging) ListRecords(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := h.hang(ctx); err != nil {
			yield("", err)
			return
		}
		for name, err := range h.Records.ListRecords(ctx, prefix) {
			if !yield(name, err) {
				return
			}
		}
	}
}
