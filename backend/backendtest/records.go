package backendtest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"go.uber.org/goleak"
)

// A RecordsConfig says how to get at the [backend.Records] under test.
type RecordsConfig struct {
	// Open returns fresh, empty Records. It is called many times, from parallel tests,
	// and what it opens it closes by t.Cleanup.
	Open func(t *testing.T) backend.Records

	// Reopen, if set, returns another handle on the records of r, sharing nothing with r
	// but the engine, as another process would have it.
	Reopen func(t *testing.T, r backend.Records) backend.Records

	// Residue, if set, lists what the engine holds that is no record and
	// no lock. Every test ends with it, and with the list empty.
	Residue func(t *testing.T, r backend.Records) []string

	// Hold, if set, starts another process that takes the lock of that name and keeps
	// it. It returns once the lock is held, with the way to kill the process.
	Hold func(t *testing.T, r backend.Records, name string) (kill func())

	// LoseLock, if set, makes the engine take the lock of that name, which r holds, from
	// r. There is one lock in use at that time.
	LoseLock func(t *testing.T, r backend.Records, name string)

	// Damages are ways to change a record behind the engine's back that the engine must
	// notice.
	Damages []Damage

	// Patience is how long a call that has nothing to wait for may take before
	// the suite concludes that it never returns; zero means a minute.
	Patience time.Duration

	// Slow reduces the number of repetitions, not the number of checks.
	Slow bool
}

// A Damage changes the record name, which is there and has 1,000 bytes.
type Damage struct {
	Name string
	Do   func(t *testing.T, r backend.Records, name string)
}

// A recordsSuite is the RecordsConfig, with the tests as its methods.
type recordsSuite struct {
	RecordsConfig
}

// RunRecords runs the suite that every [backend.Records] passes. It looks for goroutines
// left behind, so the caller must not run it parallel to other tests.
func RunRecords(t *testing.T, cfg RecordsConfig) {
	cfg.Patience = cmp.Or(cfg.Patience, time.Minute)
	s := recordsSuite{cfg}
	before := goleak.IgnoreCurrent()
	// None is parallel itself, so that all are over when this returns.
	for _, group := range []group{
		{"Put", s.testPut},
		{"Names", s.testNames},
		{"Compare", s.testCompare},
		{"Revisions", s.testRevisions},
		{"Delete", s.testDelete},
		{"List", s.testList},
		{"Cancel", s.testCancel},
		{"Races", s.testRaces},
		{"Damage", s.testDamage},
		{"Lock", s.testLock},
	} {
		t.Run(group.name, group.run)
	}
	t.Run("Goroutines", func(t *testing.T) {
		goleak.VerifyNone(t, before)
	})
}

// records are those under test, with the steps that most tests are made of.
type records struct {
	backend.Records
	t   *testing.T
	ctx context.Context
}

func (s recordsSuite) open(t *testing.T) records {
	t.Helper()
	r := s.Open(t)
	if s.Residue != nil {
		t.Cleanup(func() {
			if left := s.Residue(t, r); len(left) > 0 {
				t.Errorf("%d things were left behind that are no records, such as %.5q", len(left), left)
			}
		})
	}
	return records{r, t, t.Context()}
}

// handles returns n ways to get at the records, the first of them r itself.
func (s recordsSuite) handles(r records, n int) []backend.Records {
	r.t.Helper()
	handles := make([]backend.Records, n)
	for i := range handles {
		switch {
		case s.Reopen == nil || i == 0:
			handles[i] = r.Records
		case i > 3: // four are enough to race each other
			handles[i] = handles[i%4]
		default:
			handles[i] = s.Reopen(r.t, r.Records)
		}
	}
	return handles
}

// times returns n, or less where the engine is slow.
func (s recordsSuite) times(n int) int { return suite{Config{Slow: s.Slow}}.times(n) }

// put stores data over the revision old.
func (r records) put(name string, data []byte, old backend.Revision) backend.Revision {
	r.t.Helper()
	revision, err := r.PutRecord(r.ctx, name, data, old)
	if err != nil {
		r.t.Fatalf("PutRecord(%q) of %d bytes over %q: %v", name, len(data), old, err)
	}
	if revision == "" || len(revision) > backend.MaxRevision || revision == old {
		r.t.Fatalf("PutRecord(%q) over %q made the revision %.100q", name, old, revision)
	}
	return revision
}

// want fails the test unless the record is that, on every handle.
func (s recordsSuite) want(r records, name string, data []byte, revision backend.Revision) {
	r.t.Helper()
	for _, handle := range s.handles(r, 2) {
		got, err := handle.GetRecord(r.ctx, name)
		if err != nil {
			r.t.Fatalf("GetRecord(%q): %v", name, err)
		}
		if got.Revision != revision || !bytes.Equal(got.Data, data) {
			r.t.Fatalf("GetRecord(%q) found %.60q (%d bytes) of revision %q, not %.60q (%d bytes) of %q",
				name, got.Data, len(got.Data), got.Revision, data, len(data), revision)
		}
	}
}

func (s recordsSuite) wantMissing(r records, name string) {
	r.t.Helper()
	for _, handle := range s.handles(r, 2) {
		got, err := handle.GetRecord(r.ctx, name)
		if err == nil {
			r.t.Fatalf("GetRecord(%q) of a record that is not to be there found revision %q", name, got.Revision)
		}
		wantError(r.t, fmt.Sprintf("GetRecord(%q)", name), err, atrest.ErrNotFound)
	}
}

// names collects a listing, up to its error.
func (r records) names(ctx context.Context, prefix string) (names []string, err error) {
	for name, err := range r.ListRecords(ctx, prefix) {
		if err != nil {
			return names, err
		}
		names = append(names, name)
	}
	return names, nil
}

func (r records) wantNames(prefix string, want ...string) {
	r.t.Helper()
	got, err := r.names(r.ctx, prefix)
	if err != nil {
		r.t.Fatalf("ListRecords(%q): %v", prefix, err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Fatalf("ListRecords(%q) found %q, not %q", prefix, got, want)
	}
}

// dataOf returns n bytes that depend on seed and n, all values of a byte among them.
func dataOf(seed, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i*(2*seed+1) + seed + i>>8)
	}
	return data
}

// within fails the test if f is not done after a while.
func (s recordsSuite) within(t *testing.T, what string, f func()) {
	t.Helper()
	suite{Config{Patience: s.Patience}}.within(t, what, f)
}

// isEnd reports whether err tells that a context has ended.
func isEnd(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
