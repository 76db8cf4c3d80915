package main

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/internal/segment"
	"github.com/atrest/atrest/storage"
)

// callers put at the same time.
const callers = 64

func putBytes(ctx context.Context, store *storage.Store, name string, secret []byte) error {
	_, err := store.PutBytes(ctx, name, secret, nil)
	return err
}

// TestRequestsPerPut: the keys of 64 concurrent puts share requests to Vault.
func TestRequestsPerPut(t *testing.T) {
	const rounds, limit = 10, 0.2
	for _, backend := range backends {
		t.Run(backend.name, func(t *testing.T) {
			keys, _, wire := newKeys(t)
			store := newStore(t, backend.open(t), keys)
			for i := range rounds {
				err := together(t.Context(), callers, callers, func(ctx context.Context, caller int64) error {
					return putBytes(ctx, store, secretName(int64(i)*callers+caller), noise(secretSize))
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			perPut := float64(wire.count()) / (rounds * callers)
			t.Logf("%.3f requests per put", perPut)
			if perPut > limit {
				t.Errorf("%.3f requests per put, want at most %v", perPut, limit)
			}
		})
	}
}

// TestRequestsOfLoneCalls: a call that is alone costs one request, or none.
func TestRequestsOfLoneCalls(t *testing.T) {
	ctx := t.Context()
	keys, _, wire := newKeys(t)
	store := newStore(t, memory.New(), keys)
	big := noise(5 * segment.DefaultSize)
	for _, call := range []struct {
		name string
		want int64
		run  func() error
	}{
		{"put of a small object", 1, func() error { return putBytes(ctx, store, "small", noise(secretSize)) }},
		{"put of a large object", 1, func() error { return putBytes(ctx, store, "large", big) }},
		{"get of a small object", 1, func() error { _, _, err := store.GetBytes(ctx, "small"); return err }},
		{"get of a large object", 1, func() error { _, _, err := store.GetBytes(ctx, "large"); return err }},
		{"get of a range", 1, func() error { return readRange(t, store, "large", 3*segment.DefaultSize, 4096) }},
		{"stat", 1, func() error { _, err := store.Stat(ctx, "large"); return err }},
		{"copy", 2, func() error { _, err := store.Copy(ctx, "copy", "large", nil); return err }},
		{"list", 0, func() error {
			for _, err := range store.List(ctx, nil) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"delete", 0, func() error { return store.Delete(ctx, "large", nil) }},
		{"get of nothing", 0, func() error {
			if _, err := store.Get(ctx, "large"); !errors.Is(err, atrest.ErrNotFound) {
				return errors.New("it is still there")
			}
			return nil
		}},
	} {
		wire.count()
		if err := call.run(); err != nil {
			t.Errorf("%s: %v", call.name, err)
		}
		if n := wire.count(); n != call.want {
			t.Errorf("%s: %d requests to Vault, want %d", call.name, n, call.want)
		}
	}
}

// TestRequestsOfRewrap: keys are rewrapped by the hundred, and bodies left alone.
func TestRequestsOfRewrap(t *testing.T) {
	const objects, limit = 2000, 10
	keys, _, wire := newKeys(t)
	blobs := &meter{Blobs: memory.New()}
	store := newStore(t, blobs, keys)
	err := together(t.Context(), callers, objects, func(ctx context.Context, i int64) error {
		return putBytes(ctx, store, secretName(i), noise(secretSize))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	wire.count()
	blobs.reset()
	progress, err := store.Rewrap(t.Context(), nil)
	if err != nil || progress.Rewrapped != objects {
		t.Fatalf("%+v, %v; want %d rewrapped", progress, err, objects)
	}
	if n := wire.count(); n > limit {
		t.Errorf("%d requests to Vault for %d objects, want at most %d", n, objects, limit)
	} else {
		t.Logf("%d requests for %d objects", n, objects)
	}
	if n := blobs.bytes.Load(); n > objects*backend.MaxHeader {
		t.Errorf("%d bytes fetched from the backend", n)
	}
}

// TestAllocations counts all of the process: Vault's client, the connection, the
// store, and the backend in memory. The bounds are twice what was measured; they
// are there to notice the next ten-fold.
func TestAllocations(t *testing.T) {
	keys, _, _ := newKeys(t)
	store := newStore(t, memory.New(), keys)
	secret := noise(secretSize)
	for _, call := range []struct {
		name string
		max  float64
		run  func() error
	}{
		{"PutBytes", 400, func() error { return putBytes(t.Context(), store, "secret", secret) }},
		{"GetBytes", 400, func() error { _, _, err := store.GetBytes(t.Context(), "secret"); return err }},
	} {
		n := testing.AllocsPerRun(100, func() {
			if err := call.run(); err != nil {
				t.Error(err)
			}
		})
		t.Logf("%s: %.0f allocations", call.name, n)
		if n > call.max {
			t.Errorf("%s: %.0f allocations, want at most %.0f", call.name, n, call.max)
		}
	}
}

// TestRangeFetches: a small range costs at most two segments and the header, in
// one request, wherever it lies.
func TestRangeFetches(t *testing.T) {
	const objectSize, length = 20*segment.DefaultSize + 1000, 4096
	keys, _, _ := newKeys(t)
	blobs := &meter{Blobs: memory.New()}
	store := newStore(t, blobs, keys)
	if err := putBytes(t.Context(), store, "large", noise(objectSize)); err != nil {
		t.Fatal(err)
	}
	offsets := []int64{0, 1, objectSize - length, objectSize - 1, objectSize}
	for i := int64(1); i < 20; i++ {
		edge := i*(segment.DefaultSize-segment.TagSize) - segment.PrefixSize
		offsets = append(offsets, edge-length, edge-length+1, edge-1, edge, i*50_000)
	}
	for _, offset := range offsets {
		blobs.reset()
		if err := readRange(t, store, "large", offset, length); err != nil {
			t.Errorf("%d bytes at %d: %v", length, offset, err)
		}
		if n := blobs.bytes.Load(); n > 2*segment.DefaultSize+backend.MaxHeader {
			t.Errorf("%d bytes at %d: %d bytes fetched", length, offset, n)
		}
		if n := blobs.gets.Load(); n > 2 || n > 1 && offset+length <= objectSize {
			t.Errorf("%d bytes at %d: %d requests to the backend", length, offset, n)
		}
	}
}

// readRange reads a range and drops it.
func readRange(t testing.TB, store *storage.Store, name string, offset, length int64) error {
	r, err := store.GetRange(t.Context(), name, offset, length)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}
