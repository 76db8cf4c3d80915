package storage_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/backend/s3"
	"github.com/atrest/atrest/internal/devs3"
	"github.com/atrest/atrest/storage"
)

// TestMigrateUnsupportedOnce: one ErrUnsupported, wherever it comes from, is a failure
// of one object. It does not make puts unconditional.
func TestMigrateUnsupportedOnce(t *testing.T) {
	for what, n := range map[string]int{"small source": 1000, "large source": 200_000, "destination": 10} {
		from, to := &scripted{Blobs: memory.New()}, &scripted{Blobs: memory.New()}
		src, dst := newStore(t, storage.Config{Backend: from}), newStore(t, storage.Config{Backend: to})
		contents := make(map[string][]byte)
		for i := range 20 {
			contents[fmt.Sprintf("%02d", i)] = noise(n + i)
		}
		putAll(t, src, contents)
		var done atomic.Bool
		once := func() error {
			if done.Swap(true) {
				return nil
			}
			return fmt.Errorf("%w: prepared statement \"s1\" does not exist", atrest.ErrUnsupported)
		}
		var unconditional atomic.Int64
		to.refuse = func(cond backend.Condition) error {
			if cond == (backend.Condition{}) {
				unconditional.Add(1)
			}
			if what == "destination" {
				return once()
			}
			return nil
		}
		if what != "destination" {
			from.body = func(string, int64) error { return once() }
		}
		p, err := storage.Migrate(t.Context(), dst, src, &storage.MigrateOptions{Concurrency: 2})
		wantError(t, err, atrest.ErrUnsupported)
		if p.Failed != 1 || p.Copied != 19 || unconditional.Load() != 0 {
			t.Errorf("%s: %+v, %d unconditional changes", what, p, unconditional.Load())
		}
		mustMigrate(t, dst, src, nil)
		wantAll(t, dst, contents)
	}
}

// TestMigrateUnsupportedOften: an engine that refuses now and then, or anything, does
// not refuse conditions.
func TestMigrateUnsupportedOften(t *testing.T) {
	for _, every := range []int64{1, 2, 3} {
		to := &scripted{Blobs: memory.New()}
		src, dst := newStore(t, storage.Config{}), newStore(t, storage.Config{Backend: to})
		putMany(t, src, 50)
		var calls, unconditional atomic.Int64
		to.refuse = func(cond backend.Condition) error {
			if cond == (backend.Condition{}) {
				unconditional.Add(1)
			}
			if calls.Add(1)%every == 0 {
				return atrest.ErrUnsupported
			}
			return nil
		}
		if every == 1 {
			var looks atomic.Int64
			to.look = func(string) error {
				if looks.Add(1)%2 == 0 { // the one after the refusal
					return atrest.ErrUnsupported
				}
				return nil
			}
		}
		p, err := storage.Migrate(t.Context(), dst, src, &storage.MigrateOptions{Concurrency: 1})
		wantError(t, err, atrest.ErrUnsupported)
		if p.Failed == 0 || p.Failed+p.Copied != 50 || unconditional.Load() != 0 {
			t.Errorf("every %d: %+v, %d unconditional changes", every, p, unconditional.Load())
		}
	}
}

// TestMigrateSomeConditions: an engine that compares no versions may still know
// whether there is anything, and is asked to.
func TestMigrateSomeConditions(t *testing.T) {
	to := &scripted{Blobs: memory.New()}
	src, dst := newStore(t, storage.Config{}), newStore(t, storage.Config{Backend: to})
	putMany(t, src, 20)
	for i := range 5 {
		rawPut(t, to.Blobs, fmt.Sprintf("%04d", i), []byte("another's"), nil)
	}
	var unconditional atomic.Int64
	to.refuse = func(cond backend.Condition) error {
		if cond == (backend.Condition{}) {
			unconditional.Add(1)
		}
		if cond.IfVersion != "" {
			return atrest.ErrUnsupported
		}
		return nil
	}
	p := mustMigrate(t, dst, src, &storage.MigrateOptions{Overwrite: true})
	if p.Copied != 20 || unconditional.Load() != 5 {
		t.Errorf("%+v, %d unconditional changes", p, unconditional.Load())
	}
}

// TestMigrateUnsupportedDelete: a deletion on condition that fails once is not made
// without it.
func TestMigrateUnsupportedDelete(t *testing.T) {
	to := &scripted{Blobs: memory.New()}
	src, dst := newStore(t, storage.Config{}), newStore(t, storage.Config{Backend: to})
	mustPut(t, src, "n", nil)
	to.answer = func(name string, v backend.Version, err error) (backend.Version, error) {
		if err := src.Delete(t.Context(), name, nil); err != nil {
			t.Error(err)
		}
		return v, err
	}
	header := []byte("another's")
	to.refuse = func(cond backend.Condition) error {
		switch cond.IfVersion {
		case "":
			if !cond.IfAbsent {
				t.Error("an unconditional change")
			}
			return nil
		case "none":
			return nil
		}
		rawPut(t, to.Blobs, "n", header, nil)
		return atrest.ErrUnsupported
	}
	p, err := storage.Migrate(t.Context(), dst, src, nil)
	wantError(t, err, atrest.ErrUnsupported)
	if p.Failed != 1 {
		t.Errorf("%+v", p)
	}
	if h, _ := rawGet(t, to.Blobs, "n"); !bytes.Equal(h, header) {
		t.Errorf("another's object was deleted or overwritten: %q", h)
	}
}

// TestMigrateMinIO migrates into a server that keeps no conditions, by a backend that
// has not been promised to be the only writer and so refuses them.
func TestMigrateMinIO(t *testing.T) {
	server := objectStores[devs3.MinIO].get(t)
	blobs, err := s3.New(t.Context(), s3.Config{
		Client: server.Client(), Bucket: server.bucket, Prefix: "test-" + strings.ToLower(rand.Text()[:12]) + "/",
	})
	if err != nil {
		t.Fatal(err)
	}
	to := &scripted{Blobs: blobs}
	src, dst := newStore(t, storage.Config{}), newStore(t, storage.Config{Backend: to})
	contents := map[string][]byte{"small": noise(10), "large": noise(200_000), "there": noise(20), "deleted": nil}
	putAll(t, src, contents)
	mustPut(t, dst, "there", noise(30))
	to.answer = func(name string, v backend.Version, err error) (backend.Version, error) {
		if err == nil && name == "deleted" { // and its copy has to go too
			err = src.Delete(t.Context(), name, nil)
		}
		return v, err
	}
	p := mustMigrate(t, dst, src, &storage.MigrateOptions{Overwrite: true})
	if p.Copied != 3 || p.Gone != 1 {
		t.Errorf("%+v", p)
	}
	delete(contents, "deleted")
	wantAll(t, dst, contents)
}
