package backendtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/backendtest"
	"github.com/atrest/atrest/backend/memory"
)

// A recordsMutant is a keeper of records with one thing wrong, and the test that must find it.
type recordsMutant struct {
	name  string
	found string                           // path of the test below RunRecords
	wrong func(*alteredRecords)            // what is wrong with the records
	cfg   func(*backendtest.RecordsConfig) // what is wrong with the RecordsConfig
}

// alteredRecords do as the sound ones that they contain, except for the methods that are set.
type alteredRecords struct {
	backend.Records
	get    func(ctx context.Context, name string) (backend.Record, error)
	put    func(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error)
	delete func(ctx context.Context, name string, old backend.Revision) error
	list   func(ctx context.Context, prefix string) iter.Seq2[string, error]
	lock   func(ctx context.Context, name string) (context.Context, func(), error)
}

func (a *alteredRecords) GetRecord(ctx context.Context, name string) (backend.Record, error) {
	if a.get != nil {
		return a.get(ctx, name)
	}
	return a.Records.GetRecord(ctx, name)
}

func (a *alteredRecords) PutRecord(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error) {
	if a.put != nil {
		return a.put(ctx, name, data, old)
	}
	return a.Records.PutRecord(ctx, name, data, old)
}

func (a *alteredRecords) DeleteRecord(ctx context.Context, name string, old backend.Revision) error {
	if a.delete != nil {
		return a.delete(ctx, name, old)
	}
	return a.Records.DeleteRecord(ctx, name, old)
}

func (a *alteredRecords) ListRecords(ctx context.Context, prefix string) iter.Seq2[string, error] {
	if a.list != nil {
		return a.list(ctx, prefix)
	}
	return a.Records.ListRecords(ctx, prefix)
}

func (a *alteredRecords) LockRecords(ctx context.Context, name string) (context.Context, func(), error) {
	if a.lock != nil {
		return a.lock(ctx, name)
	}
	return a.Records.LockRecords(ctx, name)
}

// recordsMutantVariable names the mutant in the environment of a child process.
const recordsMutantVariable = "BACKENDTEST_RECORDS_MUTANT"

// TestRecordsMutant is what the child process runs.
func TestRecordsMutant(t *testing.T) {
	name, ok := os.LookupEnv(recordsMutantVariable)
	if !ok {
		return
	}
	i := slices.IndexFunc(recordsMutants(), func(m recordsMutant) bool { return m.name == name })
	if i < 0 {
		return // without a failure, which the parent notices
	}
	m := recordsMutants()[i]
	cfg := backendtest.RecordsConfig{Patience: 3 * time.Second, Open: func(*testing.T) backend.Records {
		a := &alteredRecords{Records: memory.NewRecords()}
		if m.wrong != nil {
			m.wrong(a)
		}
		return a
	}}
	if m.cfg != nil {
		m.cfg(&cfg)
	}
	backendtest.RunRecords(t, cfg)
}

// TestRecordsSuiteFindsMutants lets the suite loose on each mutant, in a process of its own.
func TestRecordsSuiteFindsMutants(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range recordsMutants() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			group, _, _ := strings.Cut(m.found, "/")
			pattern := "^TestRecordsMutant$/^" + strings.ReplaceAll(m.found, "/", "$/^") + "$"
			if group == "Goroutines" {
				pattern = "^TestRecordsMutant$"
			}
			cmd := exec.CommandContext(t.Context(), exe, "-test.v", "-test.run="+pattern, "-test.timeout=1m")
			cmd.Env = append(os.Environ(), recordsMutantVariable+"="+m.name)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("the suite found nothing wrong:\n%s", tail(out))
			}
			if !bytes.Contains(out, []byte("--- FAIL: TestRecordsMutant/"+m.found)) {
				t.Fatalf("%v, but not by %q:\n%s", err, m.found, tail(out))
			}
			t.Logf("%s", complaint.Find(out))
		})
	}
}

// TestRecordsSuiteIsSound runs the suite on sound records with all that a config can have.
func TestRecordsSuiteIsSound(t *testing.T) {
	backendtest.RunRecords(t, backendtest.RecordsConfig{
		Open:    func(*testing.T) backend.Records { return memory.NewRecords() },
		Reopen:  func(_ *testing.T, r backend.Records) backend.Records { return r },
		Residue: func(*testing.T, backend.Records) []string { return nil },
		Hold:    holdHere(true),
		Slow:    true,
	})
}

// holdHere takes the lock for another process, in this one.
func holdHere(release bool) func(*testing.T, backend.Records, string) func() {
	return func(t *testing.T, r backend.Records, name string) func() {
		_, unlock, err := r.LockRecords(context.Background(), name)
		if err != nil {
			t.Fatal(err)
		}
		if !release {
			return func() {}
		}
		return unlock
	}
}

func recordsMutants() []recordsMutant {
	return slices.Concat(recordPutMutants(), recordNameMutants(), recordDeleteMutants(), recordListMutants(),
		recordCancelMutants(), recordLockMutants(), recordConfigMutants())
}

// putting alters what is put.
func putting(alter func(name string, data []byte) (string, []byte)) func(*alteredRecords) {
	return func(a *alteredRecords) {
		a.put = func(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error) {
			name, data = alter(name, data)
			return a.Records.PutRecord(ctx, name, data, old)
		}
	}
}

// overwriting replaces whatever there is, where the sound records would refuse with err.
func overwriting(instead error) func(*alteredRecords) {
	return func(a *alteredRecords) {
		a.put = func(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error) {
			v, err := a.Records.PutRecord(ctx, name, data, old)
			if errors.Is(err, instead) {
				current, _ := a.Records.GetRecord(ctx, name) // none: no revision
				return a.Records.PutRecord(ctx, name, data, current.Revision)
			}
			return v, err
		}
	}
}

func recordPutMutants() []recordsMutant {
	return []recordsMutant{
		{name: "cuts at 65,535 bytes", found: "Put/Sizes", wrong: putting(func(name string, data []byte) (string, []byte) { return name, data[:min(len(data), 65535)] })},
		{name: "takes a record for text", found: "Put/Sizes", wrong: putting(func(name string, data []byte) (string, []byte) {
			return name, []byte(strings.ToValidUTF8(string(data), "?"))
		})},
		{name: "ends at NUL", found: "Put/Sizes", wrong: putting(func(name string, data []byte) (string, []byte) {
			if i := bytes.IndexByte(data, 0); i > 0 {
				data = data[:i]
			}
			return name, data
		})},
		{name: "cuts what is too large", found: "Put/BadSizes", wrong: putting(func(name string, data []byte) (string, []byte) {
			return name, data[:min(len(data), backend.MaxRecord)]
		})},
		{name: "stores a record without data", found: "Put/BadSizes", wrong: putting(func(name string, data []byte) (string, []byte) {
			return name, append([]byte(nil), append(data, bytes.Repeat([]byte{0}, max(0, 1-len(data)))...)...)
		})},
		{name: "returns the engine's own bytes", found: "Put/OwnData", wrong: func(a *alteredRecords) {
			var kept backend.Record
			a.get = func(ctx context.Context, name string) (backend.Record, error) {
				current, err := a.Records.GetRecord(ctx, name)
				if current.Revision != kept.Revision {
					kept = current
				}
				return kept, err
			}
		}},
		{name: "creates over what is there", found: "Compare", wrong: overwriting(atrest.ErrExists)},
		{name: "replaces any revision", found: "Compare", wrong: overwriting(atrest.ErrConflict)},
		{name: "says conflict for exists", found: "Compare", wrong: func(a *alteredRecords) {
			a.put = func(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error) {
				v, err := a.Records.PutRecord(ctx, name, data, old)
				if errors.Is(err, atrest.ErrExists) {
					err = atrest.ErrConflict
				}
				return v, err
			}
		}},
		{name: "keeps the revision of equal data", found: "Compare", wrong: func(a *alteredRecords) {
			a.put = func(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error) {
				if current, err := a.Records.GetRecord(ctx, name); err == nil && current.Revision == old && bytes.Equal(current.Data, data) {
					return old, nil
				}
				return a.Records.PutRecord(ctx, name, data, old)
			}
		}},
		{name: "counts revisions from one", found: "Revisions", wrong: countRevisions},
		{name: "looks first, to create", found: "Races/Create", wrong: lookThenPut},
		{name: "looks first, to replace", found: "Races/Replace", wrong: lookThenPut},
		{name: "looks first, and loses an increment", found: "Races/Counter", wrong: lookThenPut},
		{name: "looks first, against a deletion", found: "Races/DeleteAgainstPut", wrong: lookThenPut},
	}
}

// countRevisions numbers the revisions of each record, and begins anew after a deletion.
func countRevisions(a *alteredRecords) {
	var mu sync.Mutex
	sound, count := map[backend.Revision]backend.Revision{}, map[string]int{}
	a.put = func(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error) {
		mu.Lock()
		defer mu.Unlock()
		v, err := a.Records.PutRecord(ctx, name, data, sound[old])
		if err != nil {
			return "", err
		}
		count[name]++
		counted := backend.Revision(fmt.Sprint(count[name]))
		sound[counted] = v
		return counted, nil
	}
	a.delete = func(ctx context.Context, name string, old backend.Revision) error {
		mu.Lock()
		defer mu.Unlock()
		count[name] = 0
		return a.Records.DeleteRecord(ctx, name, sound[old])
	}
}

// lookThenPut compares, and a moment later swaps.
func lookThenPut(a *alteredRecords) {
	put := overwriting(atrest.ErrConflict)
	over := &alteredRecords{Records: a.Records}
	put(over)
	a.put = func(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error) {
		current, err := a.Records.GetRecord(ctx, name)
		switch {
		case err != nil && !errors.Is(err, atrest.ErrNotFound):
			return "", err
		case old == "" && err == nil:
			return "", atrest.ErrExists
		case old != current.Revision:
			return "", atrest.ErrConflict
		}
		time.Sleep(time.Millisecond)
		current, _ = a.Records.GetRecord(ctx, name) // none: no revision
		return over.PutRecord(ctx, name, data, current.Revision)
	}
}

func recordNameMutants() []recordsMutant {
	// onName alters the name in every method but the listing.
	onName := func(alter func(string) string) func(*alteredRecords) {
		return func(a *alteredRecords) {
			a.get = func(ctx context.Context, name string) (backend.Record, error) {
				return a.Records.GetRecord(ctx, alter(name))
			}
			a.put = func(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error) {
				return a.Records.PutRecord(ctx, alter(name), data, old)
			}
			a.delete = func(ctx context.Context, name string, old backend.Revision) error {
				return a.Records.DeleteRecord(ctx, alter(name), old)
			}
		}
	}
	return []recordsMutant{
		{name: "takes a period for an underscore", found: "Names/Good", wrong: onName(func(name string) string { return strings.ReplaceAll(name, ".", "_") })},
		{name: "cuts long names", found: "Names/Good", wrong: onName(func(name string) string { return name[:min(len(name), 63)] })},
		{name: "takes upper case for lower", found: "Names/Bad", wrong: onName(strings.ToLower)},
		{name: "cleans names", found: "Names/Bad", wrong: onName(func(name string) string { return strings.TrimPrefix(name, "../") })},
		{name: "locks any name", found: "Names/Bad", wrong: func(a *alteredRecords) {
			a.lock = func(ctx context.Context, name string) (context.Context, func(), error) {
				return a.Records.LockRecords(ctx, "lock")
			}
		}},
		{name: "lists with any prefix", found: "Names/Bad", wrong: func(a *alteredRecords) {
			a.list = func(ctx context.Context, prefix string) iter.Seq2[string, error] {
				if backend.CheckRecordPrefix(prefix) != nil {
					return func(func(string, error) bool) {}
				}
				return a.Records.ListRecords(ctx, prefix)
			}
		}},
	}
}

func recordDeleteMutants() []recordsMutant {
	return []recordsMutant{
		{name: "deletes any revision", found: "Delete", wrong: func(a *alteredRecords) {
			a.delete = func(ctx context.Context, name string, old backend.Revision) error {
				if current, err := a.Records.GetRecord(ctx, name); err == nil && old != "" {
					old = current.Revision
				}
				return a.Records.DeleteRecord(ctx, name, old)
			}
		}},
		{name: "deletes without a revision", found: "Delete", wrong: func(a *alteredRecords) {
			a.delete = func(ctx context.Context, name string, old backend.Revision) error {
				if current, err := a.Records.GetRecord(ctx, name); err == nil && old == "" {
					old = current.Revision
				}
				return a.Records.DeleteRecord(ctx, name, old)
			}
		}},
		{name: "does not find what is gone", found: "Delete", wrong: func(a *alteredRecords) {
			a.delete = func(ctx context.Context, name string, old backend.Revision) error {
				if _, err := a.Records.GetRecord(ctx, name); err != nil && old != "" {
					return err
				}
				return a.Records.DeleteRecord(ctx, name, old)
			}
		}},
		{name: "deletes nothing", found: "Delete", wrong: func(a *alteredRecords) {
			a.delete = func(_ context.Context, _ string, old backend.Revision) error {
				if old == "" {
					return atrest.ErrUnsupported
				}
				return nil
			}
		}},
	}
}

func recordConfigMutants() []recordsMutant {
	nothing := func(cfg *backendtest.RecordsConfig) {
		cfg.Damages = []backendtest.Damage{{Name: "Unseen", Do: func(*testing.T, backend.Records, string) {}}}
	}
	return []recordsMutant{
		{name: "does not see damage", found: "Damage/Unseen", cfg: nothing},
		{name: "takes a damaged record for none", found: "Damage/Unseen", cfg: func(cfg *backendtest.RecordsConfig) {
			cfg.Damages = []backendtest.Damage{{Name: "Unseen", Do: func(t *testing.T, r backend.Records, name string) {
				current, err := r.GetRecord(t.Context(), name)
				if err == nil {
					err = r.DeleteRecord(t.Context(), name, current.Revision)
				}
				if err != nil {
					t.Fatal(err)
				}
			}}}
		}},
		{name: "reopens others", found: "Put/Sizes", cfg: func(cfg *backendtest.RecordsConfig) {
			cfg.Reopen = func(*testing.T, backend.Records) backend.Records { return memory.NewRecords() }
		}},
		{name: "shares records", found: "List", cfg: func(cfg *backendtest.RecordsConfig) {
			r := memory.NewRecords()
			cfg.Open = func(*testing.T) backend.Records { return r }
		}},
		{name: "leaves things behind", found: "Put/Sizes", cfg: func(cfg *backendtest.RecordsConfig) {
			cfg.Residue = func(*testing.T, backend.Records) []string { return []string{"record.new"} }
		}},
		{name: "keeps the lock of the dead", found: "Lock/Process", cfg: func(cfg *backendtest.RecordsConfig) { cfg.Hold = holdHere(false) }},
		{name: "has no lock for other processes", found: "Lock/Process", cfg: func(cfg *backendtest.RecordsConfig) {
			cfg.Hold = func(*testing.T, backend.Records, string) func() { return func() {} }
		}},
		{name: "does not notice the loss of a lock", found: "Lock/Lost", cfg: func(cfg *backendtest.RecordsConfig) {
			cfg.LoseLock = func(*testing.T, backend.Records, string) {}
		}},
	}
}
