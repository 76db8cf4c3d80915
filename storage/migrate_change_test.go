package storage_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/storage"
)

// TestMigrateExisting: other objects of dst are not touched, unless asked for.
func TestMigrateExisting(t *testing.T) {
	onEach(t, func(t *testing.T, blobs backend.Blobs) {
		for _, conditions := range []bool{true, false} {
			to := &scripted{Blobs: blobs}
			if !conditions {
				to.refuse = noConditions
			}
			srcBlobs := memory.New()
			src, dst := newStore(t, storage.Config{Backend: srcBlobs}), newStore(t, storage.Config{Backend: to})
			contents := migrated()
			putAll(t, src, contents)
			rawPut(t, blobs, "size/1", []byte("another's"), nil)
			header, body := rawGet(t, srcBlobs, "size/1000") // the source's, as it is
			rawPut(t, blobs, "size/1000", header, body)
			mustMigrate(t, dst, src, &storage.MigrateOptions{Prefix: "size/13"})
			header, body = rawGet(t, blobs, "size/131072")
			rawPut(t, blobs, "size/131072", header, body[:len(body)-1])
			mustPut(t, dst, "size/3145728", []byte("another"))
			header, body = rawGet(t, blobs, "size/3145728")
			exist := 0
			p, err := storage.Migrate(t.Context(), dst, src, &storage.MigrateOptions{Failed: func(_ string, err error) {
				wantError(t, err, atrest.ErrExists)
				exist++
			}})
			wantError(t, err, atrest.ErrExists)
			if exist != 4 || p.Failed != 4 || p.Skipped != 1 || p.Copied != int64(len(contents)-5) {
				t.Errorf("conditions %t: %+v", conditions, p)
			}
			if h, b := rawGet(t, blobs, "size/3145728"); !bytes.Equal(h, header) || !bytes.Equal(b, body) {
				t.Error("an object was overwritten")
			}
			if p := mustMigrate(t, dst, src, &storage.MigrateOptions{Overwrite: true}); p.Copied != 4 || p.Skipped != int64(len(contents)-4) {
				t.Errorf("conditions %t: %+v", conditions, p)
			}
			wantAll(t, dst, contents)

			// A body that was damaged in dst is only seen by reading it.
			header, body = rawGet(t, blobs, "size/3145728")
			body[1<<20] ^= 1
			rawPut(t, blobs, "size/3145728", header, body)
			if p := mustMigrate(t, dst, src, nil); p.Skipped != int64(len(contents)) {
				t.Errorf("%+v", p)
			}
			_, err = storage.Migrate(t.Context(), dst, src, &storage.MigrateOptions{ReadBack: true})
			wantError(t, err, atrest.ErrExists)
			if p := mustMigrate(t, dst, src, &storage.MigrateOptions{ReadBack: true, Overwrite: true}); p.Copied != 1 {
				t.Errorf("%+v", p)
			}
			wantAll(t, dst, contents)
			for name := range contents {
				if err := blobs.Delete(t.Context(), name, backend.Condition{}); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// TestMigrateDelta: another run notices what was replaced in src since, also by
// something of the same size, and brings it over if it may.
func TestMigrateDelta(t *testing.T) {
	onSomePairs(t, func(t *testing.T, dstBlobs, srcBlobs backend.Blobs) {
		src, dst := newStore(t, storage.Config{Backend: srcBlobs}), newStore(t, storage.Config{Backend: dstBlobs})
		contents := migrated()
		putAll(t, src, contents)
		mustMigrate(t, dst, src, nil)
		contents["size/1000"], contents["size/3145728"] = bytes.Repeat([]byte{7}, 1000), bytes.Repeat([]byte{8}, 3<<20)
		contents["new"] = []byte("new")
		for _, name := range []string{"size/1000", "size/3145728", "new"} {
			putAll(t, src, map[string][]byte{name: contents[name]})
		}
		p, err := storage.Migrate(t.Context(), dst, src, nil)
		wantError(t, err, atrest.ErrExists)
		if p.Failed != 2 || p.Copied != 1 || p.Changed != 0 {
			t.Errorf("%+v", p)
		}
		p = mustMigrate(t, dst, src, &storage.MigrateOptions{Overwrite: true})
		if p.Copied != 2 || p.Skipped != int64(len(contents)-2) {
			t.Errorf("%+v", p)
		}
		wantAll(t, dst, contents)
	})
}

// TestMigrateChangingSource replaces and deletes objects in the midst of their
// being copied.
func TestMigrateChangingSource(t *testing.T) {
	onSomePairs(t, func(t *testing.T, dstBlobs, srcBlobs backend.Blobs) {
		for _, n := range []int{1000, 3 << 20} {
			for _, moment := range []string{"first byte", "failing byte", "half", "before put", "after put"} {
				if n == 1000 && moment == "half" {
					continue // it is read at once
				}
				for _, deleted := range []bool{false, true} {
					changeInTheMidst(t, dstBlobs, srcBlobs, nil, n, moment, deleted)
					changeInTheMidst(t, dstBlobs, srcBlobs, noConditions, n, moment, deleted)
				}
			}
		}
	})
}

func changeInTheMidst(t *testing.T, dstBlobs, srcBlobs backend.Blobs, refuse func(backend.Condition) error, n int, moment string, deleted bool) {
	t.Helper()
	what := fmt.Sprintf("%d bytes, %s, deleted %t, conditions %t", n, moment, deleted, refuse == nil)
	from, to := &scripted{Blobs: srcBlobs}, &scripted{Blobs: dstBlobs, refuse: refuse}
	src, dst := newStore(t, storage.Config{Backend: from}), newStore(t, storage.Config{Backend: to})
	mustPut(t, src, "n", noise(n))
	contents := map[string][]byte{"n": []byte("new")}
	if deleted {
		contents = nil
	}
	var done atomic.Bool
	act := func() {
		if done.Swap(true) {
			return
		}
		if !deleted {
			mustPut(t, src, "n", contents["n"])
		} else if err := src.Delete(t.Context(), "n", nil); err != nil {
			t.Error(err)
		}
	}
	switch moment {
	case "first byte":
		from.body = func(string, int64) error { act(); return nil }
	case "failing byte": // as a reader that is overtaken may
		from.body = func(string, int64) error {
			if done.Load() {
				return nil
			}
			act()
			return &customError{}
		}
	case "half":
		from.body = func(_ string, read int64) error {
			if read >= int64(n/2) {
				act()
			}
			return nil
		}
	case "before put":
		to.put = func(string) error { act(); return nil }
	case "after put":
		to.answer = func(_ string, v backend.Version, err error) (backend.Version, error) { act(); return v, err }
	}
	var gone []string
	p := mustMigrate(t, dst, src, &storage.MigrateOptions{Gone: func(name string) { gone = append(gone, name) }})
	if !done.Load() {
		t.Fatalf("%s: nothing has happened", what)
	}
	if deleted != slices.Equal(gone, []string{"n"}) || int(p.Gone) != len(gone) {
		t.Errorf("%s: gone are %q", what, gone)
	}
	if want := (storage.MigrateProgress{Copied: 1, CopiedBytes: p.CopiedBytes, Changed: p.Changed, Last: "n"}); !deleted && p != want {
		t.Errorf("%s: %+v", what, p)
	}
	if want := (storage.MigrateProgress{Gone: 1, Changed: p.Changed, Last: "n"}); deleted && p != want {
		t.Errorf("%s: %+v", what, p)
	}
	// A reader may go on or fail: only what was put twice has surely changed.
	if p.Changed == 0 && moment == "after put" {
		t.Errorf("%s: %+v", what, p)
	}
	wantAll(t, dst, contents)
	for name := range contents {
		if err := errors.Join(src.Delete(t.Context(), name, nil), dst.Delete(t.Context(), name, nil)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMigrateEverChanging: an object that is replaced each time is a failure, and
// leaves no stale copy.
func TestMigrateEverChanging(t *testing.T) {
	for _, refuse := range []func(backend.Condition) error{nil, noConditions} {
		everChanging(t, &scripted{Blobs: memory.New(), refuse: refuse})
	}
}

func everChanging(t *testing.T, to *scripted) {
	src, dst := newStore(t, storage.Config{}), newStore(t, storage.Config{Backend: to})
	putAll(t, src, map[string][]byte{"a": nil, "restless": nil, "z": nil})
	to.answer = func(name string, v backend.Version, err error) (backend.Version, error) {
		if name == "restless" {
			mustPut(t, src, name, nil)
		}
		return v, err
	}
	p, err := storage.Migrate(t.Context(), dst, src, nil)
	wantError(t, err, atrest.ErrConflict)
	if p.Copied != 2 || p.Failed != 1 || p.Changed != 1 {
		t.Errorf("%+v", p)
	}
	wantAll(t, dst, map[string][]byte{"a": nil, "z": nil})
}

// TestMigrateAgainstWriters: who writes to dst in between is not overwritten. An
// engine that keeps no conditions is looked at before the put.
func TestMigrateAgainstWriters(t *testing.T) {
	for _, refuse := range []func(backend.Condition) error{nil, noConditions} {
		for _, opts := range []*storage.MigrateOptions{{}, {Overwrite: true}} {
			from, to := &scripted{Blobs: memory.New()}, &scripted{Blobs: memory.New(), refuse: refuse}
			src, dst := newStore(t, storage.Config{Backend: from}), newStore(t, storage.Config{Backend: to})
			writer := newStore(t, storage.Config{Backend: to.Blobs})
			mustPut(t, src, "n", []byte("source's"))
			tries := 0
			from.body = func(string, int64) error {
				// The first try may be the one that finds that there are no conditions.
				if tries++; tries == 1 && refuse == nil || tries == 2 && refuse != nil {
					mustPut(t, writer, "n", []byte("another's"))
				}
				return nil
			}
			p, err := storage.Migrate(t.Context(), dst, src, opts)
			if opts.Overwrite {
				if err != nil || p.Copied != 1 {
					t.Errorf("%+v, %v", p, err)
				}
				wantContent(t, dst, "n", []byte("source's"))
				continue
			}
			wantError(t, err, atrest.ErrExists)
			if p.Failed != 1 {
				t.Errorf("%+v", p)
			}
			wantContent(t, writer, "n", []byte("another's"))
		}
	}
}

// TestMigrateReplacedAgain: what somebody puts in the place of a copy stays, also
// when the copy has turned out to be stale, or its source to be gone.
func TestMigrateReplacedAgain(t *testing.T) {
	for _, refuse := range []func(backend.Condition) error{nil, noConditions} {
		for _, deleted := range []bool{false, true} {
			from, to := &scripted{Blobs: memory.New()}, &scripted{Blobs: memory.New(), refuse: refuse}
			src, dst := newStore(t, storage.Config{Backend: from}), newStore(t, storage.Config{Backend: to})
			writer := newStore(t, storage.Config{Backend: to.Blobs})
			mustPut(t, src, "n", []byte("source's"))
			to.answer = func(_ string, v backend.Version, err error) (backend.Version, error) {
				to.answer = nil // once
				if deleted {
					mustPut(t, writer, "n", []byte("another's"))
					if err := src.Delete(t.Context(), "n", nil); err != nil {
						t.Error(err)
					}
				} else {
					mustPut(t, src, "n", []byte("source's new one"))
					from.body = func(string, int64) error {
						from.body = nil
						mustPut(t, writer, "n", []byte("another's"))
						return nil
					}
				}
				return v, err
			}
			p, err := storage.Migrate(t.Context(), dst, src, nil)
			if deleted && (err != nil || p.Gone != 1 || p.Changed != 1) {
				t.Errorf("%+v, %v", p, err)
			}
			if !deleted && (!errors.Is(err, atrest.ErrExists) || p.Failed != 1 || p.Changed != 1) {
				t.Errorf("%+v, %v", p, err)
			}
			wantContent(t, writer, "n", []byte("another's"))
		}
	}
}

// TestMigrateReplacedBeforeReadBack: what somebody puts in the place of a copy is
// not taken for it, nor deleted.
func TestMigrateReplacedBeforeReadBack(t *testing.T) {
	to := &scripted{Blobs: memory.New()}
	src, dst := newStore(t, storage.Config{}), newStore(t, storage.Config{Backend: to})
	writer := newStore(t, storage.Config{Backend: to.Blobs})
	mustPut(t, src, "n", []byte("source's"))
	to.answer = func(_ string, v backend.Version, err error) (backend.Version, error) {
		mustPut(t, writer, "n", []byte("another's"))
		return v, err
	}
	p, err := storage.Migrate(t.Context(), dst, src, &storage.MigrateOptions{ReadBack: true})
	wantError(t, err, atrest.ErrExists)
	if p.Failed != 1 || p.Copied != 0 {
		t.Errorf("%+v", p)
	}
	wantContent(t, writer, "n", []byte("another's"))
}

// TestMigrateDeletedSourceLostAnswer: an object is deleted from src just when the
// answer to its put is lost, and a repeated put has found the first. That the copy is
// ours is to be seen from its header.
func TestMigrateDeletedSourceLostAnswer(t *testing.T) {
	for _, refuse := range []func(backend.Condition) error{nil, noConditions} {
		to := &scripted{Blobs: memory.New(), refuse: refuse}
		src, dst := newStore(t, storage.Config{}), newStore(t, storage.Config{Backend: to})
		mustPut(t, src, "n", nil)
		to.answer = func(name string, _ backend.Version, err error) (backend.Version, error) {
			return "", errors.Join(err, src.Delete(t.Context(), name, nil), atrest.ErrExists)
		}
		if p := mustMigrate(t, dst, src, nil); p != (storage.MigrateProgress{Gone: 1, Changed: 1, Last: "n"}) {
			t.Errorf("%+v", p)
		}
		wantAll(t, dst, nil)
	}
}

// TestMigrateSourceFailsAfterPut: what can't be looked at again in src is a failure,
// or the end, but its copy stays, which may be all that is left.
func TestMigrateSourceFailsAfterPut(t *testing.T) {
	for _, want := range []error{atrest.ErrTampered, atrest.ErrPermission} {
		from, to := &scripted{Blobs: memory.New()}, &scripted{Blobs: memory.New()}
		src, dst := newStore(t, storage.Config{Backend: from}), newStore(t, storage.Config{Backend: to})
		mustPut(t, src, "n", noise(1000))
		to.answer = func(_ string, v backend.Version, err error) (backend.Version, error) {
			from.look = func(string) error { return want }
			return v, err
		}
		p, err := storage.Migrate(t.Context(), dst, src, nil)
		wantError(t, err, want)
		if fatal := want == atrest.ErrPermission; (p.Failed == 0) != fatal || p.Copied != 0 {
			t.Errorf("%v: %+v", want, p)
		}
		wantContent(t, dst, "n", noise(1000))
	}
}
