package storage_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
)

// parallel calls f(0) to f(n-1) at once.
func parallel(n int, f func(w int)) {
	var wg sync.WaitGroup
	for w := range n {
		wg.Go(func() { f(w) })
	}
	wg.Wait()
}

// namedKeys opens a key of a given name on another Vault, so that headers don't
// tell which Vault they belong to.
func namedKeys(t *testing.T, like *transit.Wrapper) *transit.Wrapper {
	t.Helper()
	client, err := secondVault(t).Client()
	if err != nil {
		t.Fatal(err)
	}
	_, key := like.Key()
	keys, err := transit.Open(t.Context(), transit.Config{Client: client, Key: key, CreateKey: true})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// bodiless fails whoever reads or writes a body.
type bodiless struct {
	backend.Blobs
	t *testing.T
}

func (b *bodiless) Get(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error) {
	if rng != (backend.Range{}) {
		b.t.Errorf("the body of %q is read", name)
	}
	return b.Blobs.Get(ctx, name, rng, v)
}

func (b *bodiless) Put(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
	b.t.Errorf("the body of %q is written", name)
	return b.Blobs.Put(ctx, name, header, body, cond)
}

// TestMigrateInPlace brings objects to another ID, another key, and another
// Vault's key of the same name, by their headers alone.
func TestMigrateInPlace(t *testing.T) {
	keys := newKeys(t, vault)
	for what, cfg := range map[string]storage.Config{
		"ID":                 {ID: "another", Keys: keys},
		"key":                {ID: "test", Keys: newKeys(t, vault)},
		"Vault":              {ID: "test", Keys: namedKeys(t, keys)},
		"ID, key, and Vault": {ID: "another", Keys: newKeys(t, secondVault(t))},
	} {
		t.Run(what, func(t *testing.T) {
			onEach(t, func(t *testing.T, blobs backend.Blobs) {
				writer := newStore(t, storage.Config{Backend: blobs, Keys: keys})
				contents := migrated()
				putAll(t, writer, contents)
				before, _ := rawGet(t, blobs, "size/1")
				guarded := &bodiless{blobs, t}
				src := newStore(t, storage.Config{Backend: guarded, Keys: keys})
				cfg := cfg // each backend's own
				cfg.Backend = guarded
				dst := newStore(t, cfg)
				was, err := src.Stat(t.Context(), "size/3145728")
				if err != nil {
					t.Fatal(err)
				}
				p := mustMigrate(t, dst, src, nil)
				if p != (storage.MigrateProgress{Copied: int64(len(contents)), Last: p.Last}) {
					t.Errorf("%+v", p)
				}
				again := mustMigrate(t, dst, src, nil)
				if again != (storage.MigrateProgress{Skipped: p.Copied, SkippedBytes: again.SkippedBytes, Last: p.Last}) {
					t.Errorf("again: %+v", again)
				}
				is, err := dst.Stat(t.Context(), "size/3145728")
				if err != nil || is.Version != was.Version || !is.Modified.Equal(was.Modified) {
					t.Errorf("%+v became %+v, %v", was, is, err)
				}
				if after, _ := rawGet(t, blobs, "size/1"); bytes.Equal(before, after) {
					t.Error("the header has not changed")
				}
				cfg.Backend = blobs
				reader := newStore(t, cfg)
				wantAll(t, reader, contents)
				_, _, err = writer.GetBytes(t.Context(), "size/1")
				wantError(t, err, atrest.ErrTampered)
				// And back.
				if p := mustMigrate(t, writer, reader, &storage.MigrateOptions{ReadBack: true}); p.Copied != int64(len(contents)) {
					t.Errorf("back: %+v", p)
				}
				wantAll(t, writer, contents)
			})
		})
	}
}

// TestMigrateInPlaceResumes: what was interrupted is finished, each object
// readable through one of the two Stores all along.
func TestMigrateInPlaceResumes(t *testing.T) {
	keys := newKeys(t, vault)
	blobs := &scripted{Blobs: memory.New()} // no HeaderBatcher
	src := newStore(t, storage.Config{ID: "source", Backend: blobs, Keys: keys})
	dst := newStore(t, storage.Config{ID: "destination", Backend: blobs, Keys: keys})
	const n = 1300
	putMany(t, src, n)
	total := int64(0)
	for _, stop := range []int64{1, 200, 700} {
		ctx, cancel := context.WithCancel(t.Context())
		var left atomic.Int64
		left.Store(stop)
		blobs.header = func(string) error {
			if left.Add(-1) < 0 {
				cancel()
			}
			return nil
		}
		p, err := storage.Migrate(ctx, dst, src, nil)
		cancel()
		wantError(t, err, context.Canceled)
		total += p.Copied
		good := 0
		for _, s := range []*storage.Store{src, dst} {
			for _, err := range s.Verify(t.Context(), nil) {
				if err == nil {
					good++
				}
			}
		}
		if good != n {
			t.Fatalf("%d objects are good", good)
		}
	}
	blobs.header = nil
	if p := mustMigrate(t, dst, src, nil); p.Copied+p.Skipped != n || p.Copied == 0 || p.Skipped < total {
		t.Errorf("%+v after %d", p, total)
	}
	for i := 0; i < n; i += 50 {
		wantContent(t, dst, fmt.Sprintf("%04d", i), fmt.Append(nil, i))
	}
}

// TestMigrateInPlaceReportsAndGoesOn: what belongs to neither store is named, and
// as it was.
func TestMigrateInPlaceReportsAndGoesOn(t *testing.T) {
	blobs := memory.New()
	keys := newKeys(t, vault)
	src := newStore(t, storage.Config{ID: "source", Backend: blobs, Keys: keys})
	dst := newStore(t, storage.Config{ID: "destination", Backend: blobs, Keys: keys})
	contents := migrated()
	putAll(t, src, contents)
	header, body := rawGet(t, blobs, "size/1")
	rawPut(t, blobs, "bad/moved", header, body)
	rawPut(t, blobs, "bad/no header", []byte("x"), body)
	bad := 0
	p, err := storage.Migrate(t.Context(), dst, src, &storage.MigrateOptions{Failed: func(_ string, err error) {
		wantError(t, err, atrest.ErrTampered)
		bad++
	}})
	wantError(t, err, atrest.ErrTampered)
	if bad != 2 || p.Failed != 2 || p.Copied != int64(len(contents)) {
		t.Errorf("%+v", p)
	}
	if h, _ := rawGet(t, blobs, "bad/moved"); !bytes.Equal(h, header) {
		t.Error("the header was changed")
	}
	// Bodies are only looked at by who asks for it.
	header, body = rawGet(t, blobs, "size/3145728")
	body[1<<20] ^= 1
	rawPut(t, blobs, "size/3145728", header, body)
	p, err = storage.Migrate(t.Context(), dst, src, &storage.MigrateOptions{Prefix: "size/"})
	if err != nil || p.Failed != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	p, err = storage.Migrate(t.Context(), dst, src, &storage.MigrateOptions{Prefix: "size/", ReadBack: true})
	wantError(t, err, atrest.ErrTampered)
	if p.Failed != 1 {
		t.Errorf("%+v", p)
	}
}

// TestMigrateInPlaceAgainstWriters: puts, by either store, and deletes are
// neither lost nor undone.
func TestMigrateInPlaceAgainstWriters(t *testing.T) {
	onEach(t, func(t *testing.T, blobs backend.Blobs) {
		keys := newKeys(t, vault)
		src := newStore(t, storage.Config{ID: "source", Backend: blobs, Keys: keys})
		dst := newStore(t, storage.Config{ID: "destination", Backend: blobs, Keys: keys})
		const n = 30
		name := func(i int) string { return fmt.Sprintf("%04d", i) }
		putMany(t, src, n)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				for _, pair := range [][2]*storage.Store{{dst, src}, {src, dst}} {
					if _, err := storage.Migrate(t.Context(), pair[0], pair[1], nil); err != nil {
						t.Error(err)
						return
					}
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
		for round := range 5 {
			for i := range n {
				switch i % 3 {
				case 0:
					if err := src.Delete(t.Context(), name(i), nil); err != nil {
						t.Fatal(err)
					}
				case 1:
					mustPut(t, src, name(i), fmt.Append(nil, round))
				case 2:
					mustPut(t, dst, name(i), fmt.Append(nil, round))
				}
			}
		}
		close(stop)
		wg.Wait()
		mustMigrate(t, dst, src, nil)
		for i := range n {
			if i%3 == 0 {
				_, err := dst.Stat(t.Context(), name(i))
				wantError(t, err, atrest.ErrNotFound)
			} else {
				wantContent(t, dst, name(i), []byte("4"))
			}
		}
	})
}

// TestMigrateInPlaceGivesUp: an object whose header is ever another one is a
// failure, the others are done.
func TestMigrateInPlaceGivesUp(t *testing.T) {
	blobs := &scripted{Blobs: memory.New(), header: func(name string) error {
		if name == "0003" {
			return atrest.ErrConflict
		}
		return nil
	}}
	keys := newKeys(t, vault)
	src := newStore(t, storage.Config{ID: "source", Backend: blobs, Keys: keys})
	dst := newStore(t, storage.Config{ID: "destination", Backend: blobs, Keys: keys})
	putMany(t, src, 10)
	p, err := storage.Migrate(t.Context(), dst, src, nil)
	wantError(t, err, atrest.ErrConflict)
	if p.Failed != 1 || p.Copied != 9 || p.Skipped != 0 || p.Last != "0009" {
		t.Errorf("%+v", p)
	}
	wantContent(t, src, "0003", []byte("3"))
}

// mixedUp keys wrap another data key than they are given.
type mixedUp struct{ storage.KeyWrapper }

func (k mixedUp) Wrap(ctx context.Context, dataKey, keyContext []byte) (string, error) {
	return k.KeyWrapper.Wrap(ctx, make([]byte, len(dataKey)), keyContext)
}

// shut keys wrap, but have no right to unwrap.
type shut struct{ storage.KeyWrapper }

func (shut) Unwrap(context.Context, string, []byte) ([]byte, error) {
	return nil, atrest.ErrPermission
}

// TestMigrateInPlaceChecksFirst: no header that src can open is replaced by one that
// dst can't.
func TestMigrateInPlaceChecksFirst(t *testing.T) {
	keys := newKeys(t, vault)
	for _, c := range []struct {
		keys storage.KeyWrapper
		want error
	}{{mixedUp{keys}, atrest.ErrTampered}, {shut{keys}, atrest.ErrPermission}} {
		blobs := memory.New()
		src := newStore(t, storage.Config{Backend: blobs})
		dst := newStore(t, storage.Config{Backend: blobs, Keys: c.keys})
		mustPut(t, src, "n", noise(1000))
		_, err := storage.Migrate(t.Context(), dst, src, nil)
		wantError(t, err, c.want)
		wantContent(t, src, "n", noise(1000))
	}
}
