package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/internal/devvault"
	"github.com/atrest/atrest/storage"
)

// secondVault starts one for a test of its own.
func secondVault(t *testing.T) *devvault.Server {
	t.Helper()
	server := devvault.StartForTest(t)
	if err := server.EnableTransit(t.Context(), "transit"); err != nil {
		t.Fatal(err)
	}
	return server
}

// mustMigrate migrates everything without a failure.
func mustMigrate(t *testing.T, dst, src *storage.Store, opts *storage.MigrateOptions) storage.MigrateProgress {
	t.Helper()
	p, err := storage.Migrate(t.Context(), dst, src, opts)
	if err != nil {
		t.Fatalf("%+v, %v", p, err)
	}
	return p
}

// migrated are the contents that most tests migrate, by name.
func migrated() map[string][]byte {
	contents := make(map[string][]byte)
	for i, n := range []int{0, 1, 1000, 65480, 65481, 128<<10 - 72, 128 << 10, 3 << 20} {
		contents[fmt.Sprintf("size/%d", n)] = append(noise(n), byte(i))[1:]
	}
	for _, name := range []string{"../x", "a//b", "é", "with\nline", "dir", "dir/file"} {
		contents[name] = []byte(name)
	}
	return contents
}

func putAll(t *testing.T, s *storage.Store, contents map[string][]byte) {
	t.Helper()
	for name, content := range contents {
		if _, err := s.PutBytes(t.Context(), name, content, &storage.PutOptions{Metadata: storage.Metadata{"name": name}}); err != nil {
			t.Fatal(err)
		}
	}
}

func wantAll(t *testing.T, s *storage.Store, contents map[string][]byte) {
	t.Helper()
	names := collect(t, s.List(t.Context(), &storage.ListOptions{NamesOnly: true}))
	if len(names) != len(contents) {
		t.Errorf("%d objects, want %d", len(names), len(contents))
	}
	for name, content := range contents {
		wantContent(t, s, name, content)
	}
}

// TestMigrate goes from each backend to each, from one Vault to another, and to
// another key and store ID.
func TestMigrate(t *testing.T) {
	other := secondVault(t)
	onEachPair(t, func(t *testing.T, dstBlobs, srcBlobs backend.Blobs) {
		src := newStore(t, storage.Config{ID: "source", Backend: srcBlobs, SegmentSize: 4096})
		dst := newStore(t, storage.Config{ID: "destination", Backend: dstBlobs, Keys: newKeys(t, other)})
		contents := migrated()
		putAll(t, src, contents)

		var steps []storage.MigrateProgress
		p := mustMigrate(t, dst, src, &storage.MigrateOptions{Progress: func(p storage.MigrateProgress) { steps = append(steps, p) }})
		if p.Copied != int64(len(contents)) || p != (storage.MigrateProgress{Copied: p.Copied, CopiedBytes: p.CopiedBytes, Last: p.Last}) {
			t.Errorf("%+v", p)
		}
		if len(steps) != len(contents) || steps[len(steps)-1] != p {
			t.Errorf("%d steps, the last %+v", len(steps), steps[len(steps)-1])
		}
		wantGrowth(t, steps)
		wantAll(t, src, contents)
		wantAll(t, dst, contents)
		stored := int64(0)
		for name := range contents {
			srcHeader, srcBody := rawGet(t, srcBlobs, name)
			dstHeader, dstBody := rawGet(t, dstBlobs, name)
			if !bytes.Equal(srcBody, dstBody) {
				t.Errorf("%q: the body was encrypted again", name)
			}
			if bytes.Equal(srcHeader[:62], dstHeader[:62]) == bytes.Equal(srcHeader, dstHeader) {
				t.Errorf("%q: the immutable part of the header has changed, or nothing has", name)
			}
			stored += int64(len(dstBody))
			was, err := src.Stat(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			is, err := dst.Stat(t.Context(), name)
			if err != nil || !is.Modified.Equal(was.Modified) || is.Metadata["name"] != name || is.Size != was.Size {
				t.Errorf("%+v became %+v, %v", was, is, err)
			}
		}
		if p.CopiedBytes != stored {
			t.Errorf("%d bytes are said to be copied, %d were", p.CopiedBytes, stored)
		}

		for _, opts := range []*storage.MigrateOptions{nil, {ReadBack: true}, {Overwrite: true, Concurrency: 1, LargeConcurrency: 1}} {
			again := mustMigrate(t, dst, src, opts)
			if again != (storage.MigrateProgress{Skipped: p.Copied, SkippedBytes: stored, Last: p.Last}) {
				t.Errorf("once more: %+v", again)
			}
		}
		// And it goes on from where it is told to.
		third := mustMigrate(t, dst, src, &storage.MigrateOptions{Prefix: "size/", After: "size/1"})
		if third.Skipped != int64(len(inPrefixAfter(contents, "size/", "size/1"))) {
			t.Errorf("after: %+v", third)
		}
	})
}

func inPrefixAfter(contents map[string][]byte, prefix, after string) (names []string) {
	for name := range contents {
		if strings.HasPrefix(name, prefix) && name > after {
			names = append(names, name)
		}
	}
	return names
}

// wantGrowth fails the test unless nothing in the progress goes back.
func wantGrowth(t *testing.T, steps []storage.MigrateProgress) {
	t.Helper()
	for i, p := range steps {
		if i == 0 {
			continue
		}
		q := steps[i-1]
		before, err1 := backend.Escape(q.Last)
		now, err2 := backend.Escape(p.Last)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if p.Copied < q.Copied || p.CopiedBytes < q.CopiedBytes || p.Skipped < q.Skipped || p.Failed < q.Failed ||
			p.Gone < q.Gone || p.Changed < q.Changed || now <= before {
			t.Errorf("step %d: %+v after %+v", i, p, q)
		}
	}
}

func TestMigrateRefuses(t *testing.T) {
	dir := t.TempDir()
	blobs, keys := newDisk(t, dir), newKeys(t, vault)
	s := newStore(t, storage.Config{Backend: blobs, Keys: keys})
	putAll(t, s, map[string][]byte{"a": noise(10), "b": noise(200_000)})
	for what, stores := range map[string][2]*storage.Store{
		"no destination": {nil, s},
		"no source":      {s, nil},
		"one store":      {s, s},
		"one store, twice": {
			newStore(t, storage.Config{Backend: blobs, Keys: keys}), newStore(t, storage.Config{Backend: blobs, Keys: keys, SegmentSize: 100}),
		},
	} {
		if p, err := storage.Migrate(t.Context(), stores[0], stores[1], nil); err == nil || p != (storage.MigrateProgress{}) {
			t.Errorf("%s: %+v, %v", what, p, err)
		}
	}

	// Two handles are noticed, and nothing is lost.
	other := newStore(t, storage.Config{ID: "other", Backend: newDisk(t, dir), Keys: keys})
	_, err := storage.Migrate(t.Context(), other, s, nil)
	wantError(t, err, atrest.ErrExists)
	_, err = storage.Migrate(t.Context(), other, s, &storage.MigrateOptions{Overwrite: true, Concurrency: 1})
	if err == nil || !strings.Contains(err.Error(), "two handles") {
		t.Errorf("two handles: %v", err)
	}
	wantContent(t, other, "a", noise(10))
	wantContent(t, s, "b", noise(200_000))

	// So is a backend that can't be compared.
	type odd struct {
		backend.Blobs
		_ []int
	}
	x := odd{Blobs: memory.New()}
	mustMigrate(t, newStore(t, storage.Config{Backend: x}), newStore(t, storage.Config{Backend: x}), nil)
}

// TestMigrateInterrupted ends migrations at all sorts of moments, between
// objects and within them. What is in dst is whole each time, and a last run
// finishes.
func TestMigrateInterrupted(t *testing.T) {
	other := secondVault(t)
	onSomePairs(t, func(t *testing.T, dstBlobs, srcBlobs backend.Blobs) {
		from, to := &scripted{Blobs: srcBlobs}, &scripted{Blobs: dstBlobs}
		src := newStore(t, storage.Config{Backend: from})
		dst := newStore(t, storage.Config{Backend: to, Keys: newKeys(t, other)})
		contents := migrated()
		for i := range 30 {
			contents[fmt.Sprintf("more/%02d", i)] = fmt.Append(nil, i)
		}
		putAll(t, src, contents)
		random := rand.New(rand.NewPCG(1, 2))
		for round := range 12 {
			ctx, cancel := context.WithCancel(t.Context())
			var left atomic.Int64
			left.Store(random.Int64N(60))
			tick := func() {
				if left.Add(-1) < 0 {
					cancel()
				}
			}
			from.body, to.put, to.answer = nil, nil, nil
			switch round % 3 {
			case 0:
				from.body = func(string, int64) error { tick(); return nil }
			case 1:
				to.put = func(string) error { tick(); return nil }
			case 2:
				to.answer = func(_ string, v backend.Version, err error) (backend.Version, error) { tick(); return v, err }
			}
			opts := &storage.MigrateOptions{Concurrency: 1 + random.IntN(8), ReadBack: round%2 == 0}
			p, err := storage.Migrate(ctx, dst, src, opts)
			cancel()
			if err != nil && !errors.Is(err, context.Canceled) || p.Failed > 0 {
				t.Fatalf("%+v, %v", p, err)
			}
			for info, err := range dst.Verify(t.Context(), nil) {
				if err != nil {
					t.Fatalf("%q after an interruption: %v", info.Name, err)
				}
			}
			if round%4 == 3 {
				for name := range contents { // begin again
					if err := dst.Delete(t.Context(), name, nil); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		from.body, to.put, to.answer = nil, nil, nil
		if p := mustMigrate(t, dst, src, nil); p.Copied+p.Skipped != int64(len(contents)) {
			t.Errorf("%+v", p)
		}
		wantAll(t, dst, contents)
	})
}
