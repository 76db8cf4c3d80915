package storage_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/storage"
)

// fails returns a script that fails after n calls, until it is told to end.
func fails(n int64, with error) (script func(string) error, end func()) {
	var calls atomic.Int64
	script = func(string) error {
		if calls.Add(1) > n {
			return with
		}
		return nil
	}
	return script, func() { calls.Store(-1 << 40) }
}

// walkFailures are those that go on with every object: credentials that have expired,
// and a certificate, of which nobody says what it is.
func walkFailures() map[string]error {
	return map[string]error{
		"permission":  fmt.Errorf("%w: the credentials have expired", atrest.ErrPermission),
		"unexplained": fmt.Errorf("failed to connect: %w", &customError{}),
	}
}

// wantGivenUp fails the test unless a walk has ended as it should by such a failure.
func wantGivenUp(t *testing.T, what string, err, with error, failed int64, told int) {
	t.Helper()
	wantError(t, err, with)
	if permission := errors.Is(with, atrest.ErrPermission); permission && failed != 0 ||
		!permission && (failed < 100 || failed > 200 || !strings.Contains(err.Error(), "in a row")) {
		t.Errorf("%s: %d have failed, %v", what, failed, err)
	}
	if int64(told) != failed {
		t.Errorf("%s: of %d failures, %d were told", what, failed, told)
	}
}

// TestMigrateEndsByFailures: a migration does not go on when everything fails, and
// what it goes on from leaves out nothing.
func TestMigrateEndsByFailures(t *testing.T) {
	for what, with := range walkFailures() {
		to := &scripted{Blobs: memory.New()}
		src, dst := newStore(t, storage.Config{}), newStore(t, storage.Config{Backend: to})
		putMany(t, src, 500)
		script, end := fails(10, with)
		to.put = script
		told := 0
		p, err := storage.Migrate(t.Context(), dst, src, &storage.MigrateOptions{Failed: func(string, error) { told++ }})
		wantGivenUp(t, what, err, with, p.Failed, told)
		if p.Copied > 10 {
			t.Errorf("%s: %+v", what, p)
		}
		end()
		mustMigrate(t, dst, src, &storage.MigrateOptions{After: p.Last})
		if names := collect(t, to.Blobs.List(t.Context(), "", "")); len(names) != 500 {
			t.Errorf("%s: after another run from %q, there are %d objects", what, p.Last, len(names))
		}
	}
}

// TestRewrapEndsByFailures is that for a rewrap, which goes by batches.
func TestRewrapEndsByFailures(t *testing.T) {
	const n = 1400
	for what, with := range walkFailures() {
		blobs := &scripted{Blobs: memory.New()}
		keys := newKeys(t, vault)
		s := newStore(t, storage.Config{Backend: blobs, Keys: keys})
		putMany(t, s, n)
		if err := keys.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		script, end := fails(1000, with)
		blobs.header = func(name string) error {
			if name >= "0500" && name < "0620" { // fails in the midst of a batch
				return script(name)
			}
			return nil
		}
		for range 1000 {
			_ = script("")
		}
		told := 0
		p, err := s.Rewrap(t.Context(), &storage.RewrapOptions{Concurrency: 1, Failed: func(string, error) { told++ }})
		wantError(t, err, with)
		if p.Last >= "0500" || p.Failed != int64(told) || errors.Is(with, atrest.ErrPermission) != (p.Failed == 0) {
			t.Errorf("%s: %+v, %d told, %v", what, p, told, err)
		}
		end()
		if _, err := s.Rewrap(t.Context(), &storage.RewrapOptions{After: p.Last}); err != nil {
			t.Fatal(err)
		}
		if all, err := s.Rewrap(t.Context(), nil); err != nil || all.Current != n {
			t.Errorf("%s: after another run from %q: %+v, %v", what, p.Last, all, err)
		}
	}
}

// TestVerifyEndsByFailures: a verification yields no more than it has to.
func TestVerifyEndsByFailures(t *testing.T) {
	for what, with := range walkFailures() {
		blobs := &scripted{Blobs: memory.New()}
		s := newStore(t, storage.Config{Backend: blobs})
		putMany(t, s, 300)
		script, _ := fails(10, with)
		blobs.body = func(name string, read int64) error { return script(name) }
		var failed int64
		var last error
		for info, err := range s.Verify(t.Context(), nil) {
			if last != nil {
				t.Fatalf("%s: %+v after the end: %v", what, info, last)
			}
			if err != nil && info.Name != "" {
				failed++
			} else {
				last = err
			}
		}
		wantGivenUp(t, what, last, with, failed, int(failed))
	}
}

// TestFailuresOfTheirOwn: failures that are of the objects, however many, and others
// in between, are no reason to end, and the error says where they are to be found.
func TestFailuresOfTheirOwn(t *testing.T) {
	const n = 300
	for what, script := range map[string]func(name string) error{
		"explained": func(string) error { return atrest.ErrTooLarge },
		"in between": func(name string) error {
			if strings.HasSuffix(name, "0") {
				return nil
			}
			return &customError{}
		},
		"almost too many": func(name string) error {
			if name >= "0100" && name < "0199" {
				return &customError{}
			}
			return nil
		},
	} {
		to := &scripted{Blobs: memory.New(), put: script}
		src, dst := newStore(t, storage.Config{}), newStore(t, storage.Config{Backend: to})
		putMany(t, src, n)
		var failed []string
		p, err := storage.Migrate(t.Context(), dst, src, &storage.MigrateOptions{
			Failed: func(name string, _ error) { failed = append(failed, name) },
		})
		want := "0299"
		if what == "in between" {
			want = "0000" // the others may fare better
		}
		if err == nil || p.Failed+p.Copied != n || p.Failed != int64(len(failed)) || p.Last != want || !strings.Contains(err.Error(), "Failed") {
			t.Errorf("%s: %+v, %v", what, p, err)
		}
	}
}

// TestMigrateEndedAfterFailures: an error that ends it says that there were others.
func TestMigrateEndedAfterFailures(t *testing.T) {
	to := &scripted{Blobs: memory.New(), put: func(name string) error {
		switch name {
		case "0003":
			return atrest.ErrTooLarge
		case "0007":
			return atrest.ErrStorageFull
		}
		return nil
	}}
	src, dst := newStore(t, storage.Config{}), newStore(t, storage.Config{Backend: to})
	putMany(t, src, 10)
	p, err := storage.Migrate(t.Context(), dst, src, &storage.MigrateOptions{Concurrency: 1})
	wantError(t, err, atrest.ErrStorageFull)
	if p.Failed != 1 || p.Last != "0006" || !strings.Contains(err.Error(), "1 objects in all have failed") {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestMigrateInPlaceGone names what is deleted in the midst of it.
func TestMigrateInPlaceGone(t *testing.T) {
	blobs := &scripted{Blobs: memory.New()}
	blobs.header = func(name string) error {
		if name == "0003" {
			return errors.Join(blobs.Delete(t.Context(), name, backend.Condition{}), atrest.ErrConflict)
		}
		return nil
	}
	src, dst := newStore(t, storage.Config{ID: "source", Backend: blobs}), newStore(t, storage.Config{ID: "destination", Backend: blobs})
	putMany(t, src, 10)
	var gone []string
	p := mustMigrate(t, dst, src, &storage.MigrateOptions{Gone: func(name string) { gone = append(gone, name) }})
	if p.Gone != 1 || p.Copied != 9 || !slices.Equal(gone, []string{"0003"}) || p.Last != "0009" {
		t.Errorf("%+v, gone %q", p, gone)
	}
}
