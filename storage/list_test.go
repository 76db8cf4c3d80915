package storage_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/storage"
)

// bare is a backend whose listing has names and sizes only, and no batches, as
// that of an S3 server.
type bare struct {
	backend.Blobs
	gets    atomic.Int64
	at      atomic.Int64 // this moment
	most    atomic.Int64 // at a time
	latency time.Duration
	fail    func(name string) error
}

func (b *bare) List(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
	return func(yield func(backend.Entry, error) bool) {
		for e, err := range b.Blobs.List(ctx, prefix, after) {
			e.Header, e.Version = nil, ""
			if !yield(e, err) {
				return
			}
		}
	}
}

func (b *bare) Get(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error) {
	b.gets.Add(1)
	now := b.at.Add(1)
	defer b.at.Add(-1)
	for most := b.most.Load(); now > most && !b.most.CompareAndSwap(most, now); most = b.most.Load() {
	}
	time.Sleep(b.latency)
	if b.fail != nil {
		if err := b.fail(name); err != nil {
			return nil, err
		}
	}
	return b.Blobs.Get(ctx, name, rng, v)
}

// TestListWithoutHeaders: what a backend does not list is fetched, several at a
// time, and the listing is the same.
func TestListWithoutHeaders(t *testing.T) {
	blobs := memory.New()
	keys := newKeys(t, vault)
	full := newStore(t, storage.Config{Backend: blobs, Keys: keys})
	const n = 300
	putMany(t, full, n)
	slow := &bare{Blobs: blobs, latency: time.Millisecond}
	s := newStore(t, storage.Config{Backend: slow, Keys: keys})
	want := collect(t, full.List(t.Context(), nil))
	got := collect(t, s.List(t.Context(), nil))
	if !slices.Equal(got, want) || len(got) != n {
		t.Errorf("%d entries, not the %d of a listing with headers", len(got), len(want))
	}
	if gets, most := slow.gets.Load(), slow.most.Load(); gets != n || most < 4 || most > 16 {
		t.Errorf("%d headers were fetched, %d at a time", gets, most)
	}

	slow.gets.Store(0)
	names := collect(t, s.List(t.Context(), &storage.ListOptions{NamesOnly: true, Prefix: "01", After: "0110"}))
	if len(names) != 89 || names[0] != (storage.Entry{Name: "0111"}) || slow.gets.Load() != 0 {
		t.Errorf("%d names, the first %+v, %d headers fetched", len(names), names[0], slow.gets.Load())
	}

	// A loop that is left leaves nothing running, and fetches no more.
	for range s.List(t.Context(), nil) {
		break
	}
	if gets, running := slow.gets.Load(), slow.at.Load(); gets > 200 || running != 0 {
		t.Errorf("%d headers were fetched for one entry, %d fetches are running", gets, running)
	}
}

// TestListWithoutHeadersGoesOn past what is gone or can't be fetched, but ends
// when the engine is gone or the context has ended.
func TestListWithoutHeadersGoesOn(t *testing.T) {
	slow := &bare{Blobs: memory.New()}
	s := newStore(t, storage.Config{Backend: slow})
	const n = 200
	putMany(t, s, n)
	slow.fail = func(name string) error {
		switch name {
		case "0017":
			return atrest.ErrNotFound
		case "0031":
			return &customError{}
		}
		return nil
	}
	good, bad := 0, ""
	for e, err := range s.List(t.Context(), nil) {
		if err == nil {
			good++
		} else if _, ok := errors.AsType[*customError](err); ok {
			bad += e.Name
		}
	}
	if good != n-2 || bad != "0031" {
		t.Errorf("%d good, bad %q", good, bad)
	}
	slow.fail = func(name string) error {
		if name == "0100" {
			return atrest.ErrUnavailable
		}
		return nil
	}
	count, last := listToEnd(t.Context(), s)
	if count != 101 || !errors.Is(last, atrest.ErrUnavailable) {
		t.Errorf("an engine that is gone: %d pairs, the last %v", count, last)
	}
	ctx, cancel := context.WithCancel(t.Context())
	slow.fail = func(name string) error {
		if name == "0100" {
			cancel()
			return ctx.Err()
		}
		return nil
	}
	count, last = listToEnd(ctx, s)
	if count > n || !errors.Is(last, context.Canceled) {
		t.Errorf("a context that has ended: %d pairs, the last %v", count, last)
	}
}

// listToEnd counts pairs and returns the error of the last.
func listToEnd(ctx context.Context, s *storage.Store) (n int, last error) {
	for e, err := range s.List(ctx, nil) {
		if n++; last != nil {
			return n, fmt.Errorf("%+v was listed after the error %w", e, last)
		}
		last = err
	}
	return n, last
}

// TestRewrapWithoutHeaders: a rewrap does not need the listing's headers either.
func TestRewrapWithoutHeaders(t *testing.T) {
	keys := newKeys(t, vault)
	s := newStore(t, storage.Config{Backend: &bare{Blobs: memory.New()}, Keys: keys})
	const n = 300
	putMany(t, s, n)
	if err := keys.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []storage.RewrapProgress{{Rewrapped: n}, {Current: n}} {
		p, err := s.Rewrap(t.Context(), nil)
		if want.KeyVersion, want.Last = 2, "0299"; err != nil || p != want {
			t.Errorf("%+v, %v; want %+v", p, err, want)
		}
	}
	wantContent(t, s, "0123", []byte("123"))
}
