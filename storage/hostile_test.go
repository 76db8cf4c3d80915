package storage_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/storage"
)

// hostile is a backend in other hands: each of its fields alters what a good one
// would do.
type hostile struct {
	backend.Blobs
	get       func(version backend.Version, obj *backend.Object)
	put       func(body io.Reader) io.Reader
	setHeader func(name string) error
	pause     time.Duration // between entries of a listing
}

func (h *hostile) Get(ctx context.Context, name string, rng backend.Range, version backend.Version) (*backend.Object, error) {
	obj, err := h.Blobs.Get(ctx, name, rng, version)
	if err == nil && h.get != nil {
		h.get(version, obj)
	}
	return obj, err
}

func (h *hostile) Put(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
	if h.put != nil {
		body = h.put(body)
	}
	return h.Blobs.Put(ctx, name, header, body, cond)
}

func (h *hostile) SetHeader(ctx context.Context, u backend.HeaderUpdate) error {
	if h.setHeader != nil {
		if err := h.setHeader(u.Name); err != nil {
			return err
		}
	}
	return h.Blobs.SetHeader(ctx, u)
}

func (h *hostile) List(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
	return func(yield func(backend.Entry, error) bool) {
		for e, err := range h.Blobs.List(ctx, prefix, after) {
			if !yield(e, err) {
				return
			}
			select {
			case <-ctx.Done():
				yield(backend.Entry{}, ctx.Err())
				return
			case <-time.After(h.pause):
			}
		}
	}
}

// TestSizesOfTwoAnswers: a range that takes two fetches must not mix the size
// of one with the body of the other.
func TestSizesOfTwoAnswers(t *testing.T) {
	blobs := &hostile{Blobs: memory.New()}
	keys := newKeys(t, vault)
	content := noise(3000)
	mustPut(t, newStore(t, storage.Config{Backend: blobs, Keys: keys, SegmentSize: 4096}), "n", content)
	_, body := rawGet(t, blobs, "n")
	for _, readerSize := range []int{4096, 65536} {
		s := newStore(t, storage.Config{Backend: blobs, Keys: keys, SegmentSize: readerSize})
		for _, first := range []int64{100, 3057, 8192, 409600, 1 << 50} {
			for _, second := range []int64{math.MinInt64, -1, 0, 10, 3056, 3057, 409600, math.MaxInt64} {
				blobs.get = func(version backend.Version, obj *backend.Object) {
					obj.Size = first
					if version != "" {
						obj.Size, obj.Body = second, io.NopCloser(bytes.NewReader(body))
					}
				}
				for _, offset := range []int64{5000, 1 << 40} {
					r, err := s.GetRange(t.Context(), "n", offset, 100)
					if err == nil {
						var got []byte
						got, err = io.ReadAll(r)
						r.Close()
						if err == nil {
							t.Errorf("sizes %d and %d: %d bytes at %d come out", first, second, len(got), offset)
						}
					}
					wantError(t, err, atrest.ErrTampered)
				}
			}
		}
	}
}

// TestReadAfterEOF: a Reader that has ended keeps off the buffers that it gave
// back, which the race detector would see.
func TestReadAfterEOF(t *testing.T) {
	s := newStore(t, storage.Config{})
	content := noise(200 << 10)
	mustPut(t, s, "n", content)
	r, err := s.Get(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for p := make([]byte, 100); ; time.Sleep(time.Microsecond) {
			select {
			case <-done:
				return
			default:
			}
			if n, err := r.Read(p); n != 0 || err != io.EOF {
				t.Errorf("after EOF: %d, %v", n, err)
				return
			}
		}
	})
	for range 30 {
		wantContent(t, s, "n", content)
	}
	close(done)
	wg.Wait()
}

// TestOneBadObjectStopsNoWalk: what fails for one object says nothing of the
// others.
func TestOneBadObjectStopsNoWalk(t *testing.T) {
	blobs := &hostile{Blobs: memory.New()}
	keys := newKeys(t, vault)
	s := newStore(t, storage.Config{Backend: blobs, Keys: keys})
	const n = 600
	for i := range n {
		mustPut(t, s, fmt.Sprintf("%03d", i), noise(10))
	}
	if err := keys.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	blobs.setHeader = func(name string) error {
		if name == "007" {
			return fs.ErrPermission
		}
		return nil
	}
	failed := ""
	p, err := s.Rewrap(t.Context(), &storage.RewrapOptions{Failed: func(name string, err error) { failed += name }})
	if !errors.Is(err, fs.ErrPermission) || failed != "007" || p.Rewrapped != n-1 || p.Failed != 1 || p.Last != "599" {
		t.Errorf("%+v, %v, failed %q", p, err, failed)
	}

	var once sync.Once
	blobs.get = func(_ backend.Version, obj *backend.Object) {
		once.Do(func() {
			obj.Body = io.NopCloser(io.MultiReader(io.LimitReader(obj.Body, 3), &failingReader{&customError{}}))
		})
	}
	good, bad := 0, 0
	for info, err := range s.Verify(t.Context(), &storage.VerifyOptions{Concurrency: 1}) {
		if _, ok := errors.AsType[*customError](err); ok && info.Name != "" {
			bad++
		} else if err == nil {
			good++
		}
	}
	if good != n-1 || bad != 1 {
		t.Errorf("%d good and %d bad", good, bad)
	}
}

type failingReader struct{ err error }

func (r *failingReader) Read([]byte) (int, error) { return 0, r.err }

// junkKeys is a wrapper that rewraps badly.
type junkKeys struct {
	storage.KeyWrapper
	rewrap func(wrapped []string) ([]string, []error)
}

func (j junkKeys) RewrapBatch(_ context.Context, wrapped []string, _ [][]byte) ([]string, []error) {
	return j.rewrap(wrapped)
}

// TestBadRewrapIsNotStored: the only copy of a data key is not given up for
// something else.
func TestBadRewrapIsNotStored(t *testing.T) {
	keys := newKeys(t, vault)
	blobs := memory.New()
	mustPut(t, newStore(t, storage.Config{Backend: blobs, Keys: keys}), "n", []byte("precious"))
	if err := keys.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for what, rewrap := range map[string]func([]string) ([]string, []error){
		"nothing":   func([]string) ([]string, []error) { return nil, nil },
		"too many":  func(w []string) ([]string, []error) { return append(w, w...), make([]error, 2*len(w)) },
		"short":     func([]string) ([]string, []error) { return []string{"vault:v2:AAAA"}, []error{nil} },
		"empty":     func([]string) ([]string, []error) { return []string{""}, []error{nil} },
		"unchanged": func(w []string) ([]string, []error) { return w, []error{nil} },
	} {
		s := newStore(t, storage.Config{Backend: blobs, Keys: junkKeys{keys, rewrap}})
		if p, err := s.Rewrap(t.Context(), nil); err == nil || p.Rewrapped != 0 {
			t.Errorf("%s: %+v, %v", what, p, err)
		}
		wantContent(t, s, "n", []byte("precious"))
	}
}

// TestForgedKeyVersion: Rewrap does not take a forged version for a new one.
func TestForgedKeyVersion(t *testing.T) {
	keys := newKeys(t, vault)
	blobs := memory.New()
	s := newStore(t, storage.Config{Backend: blobs, Keys: keys})
	mustPut(t, s, "n", nil)
	header, body := rawGet(t, blobs, "n")
	header[94] = 0x7f // the first byte of the key version
	rawPut(t, blobs, "n", header, body)
	p, err := s.Rewrap(t.Context(), nil)
	wantError(t, err, atrest.ErrTampered)
	if p.Current != 0 || p.Failed != 1 {
		t.Errorf("%+v", p)
	}
}

// TestLostConnectionIsNotTampering: a body that was cut on the way is no proof
// of anything.
func TestLostConnectionIsNotTampering(t *testing.T) {
	blobs := &hostile{Blobs: memory.New()}
	s := newStore(t, storage.Config{Backend: blobs})
	for _, n := range []int{1000, 100_000} {
		blobs.get = nil
		mustPut(t, s, "n", noise(n))
		blobs.get = func(_ backend.Version, obj *backend.Object) {
			obj.Body = io.NopCloser(io.MultiReader(io.LimitReader(obj.Body, 500), &failingReader{io.ErrUnexpectedEOF}))
		}
		_, _, err := s.GetBytes(t.Context(), "n")
		wantError(t, err, io.ErrUnexpectedEOF)
		if errors.Is(err, atrest.ErrTampered) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// TestNoProgress: what yields or takes nothing, for ever, is an error.
func TestNoProgress(t *testing.T) {
	blobs := &hostile{Blobs: memory.New()}
	s := newStore(t, storage.Config{Backend: blobs, SegmentSize: 64})
	for _, n := range []int{3, 1000} {
		mustPut(t, s, "n", noise(n))
		r, err := s.Get(t.Context(), "n")
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.WriteTo(lazyWriter{})
		wantError(t, err, io.ErrShortWrite)
		r.Close()
		blobs.get = func(_ backend.Version, obj *backend.Object) { obj.Body = io.NopCloser(&failingReader{nil}) }
		_, _, err = s.GetBytes(t.Context(), "n")
		wantError(t, err, io.ErrNoProgress)
		blobs.get = nil
	}
}

type lazyWriter struct{}

func (lazyWriter) Write([]byte) (int, error) { return 0, nil }

// TestBodyNotRead: a backend that reports success without having read all of
// the object is not believed.
func TestBodyNotRead(t *testing.T) {
	blobs := &hostile{Blobs: memory.New(), put: func(body io.Reader) io.Reader { return io.LimitReader(body, 500) }}
	s := newStore(t, storage.Config{Backend: blobs})
	for _, n := range []int{1000, 1 << 20} {
		if _, err := s.PutBytes(t.Context(), "n", noise(n), nil); err == nil {
			t.Errorf("%d bytes: success", n)
		}
	}
}

// TestBreakEndsTheListing: leaving a loop does not wait for the backend's next
// page.
func TestBreakEndsTheListing(t *testing.T) {
	s := newStore(t, storage.Config{Backend: &hostile{Blobs: memory.New(), pause: time.Minute}})
	mustPut(t, s, "a", nil)
	mustPut(t, s, "b", nil)
	began := time.Now()
	for range s.Verify(t.Context(), nil) {
		break
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

// TestKeyReplaced: even if the transit key is replaced, under an open wrapper,
// by one that is not derived, an object can't be moved to another name.
func TestKeyReplaced(t *testing.T) {
	keys := newKeys(t, vault)
	blobs := memory.New()
	s := newStore(t, storage.Config{Backend: blobs, Keys: keys})
	client, err := vault.Client()
	if err != nil {
		t.Fatal(err)
	}
	_, name := keys.Key()
	path := "transit/keys/" + name
	_, configErr := client.Logical().WriteWithContext(t.Context(), path+"/config", map[string]any{"deletion_allowed": true})
	_, deleteErr := client.Logical().DeleteWithContext(t.Context(), path)
	_, createErr := client.Logical().WriteWithContext(t.Context(), path, map[string]any{"derived": false})
	if err := errors.Join(configErr, deleteErr, createErr); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "admin/password", []byte("hunter2"))
	header, body := rawGet(t, blobs, "admin/password")
	rawPut(t, blobs, "public/motd", header, body)
	_, _, err = s.GetBytes(t.Context(), "public/motd")
	wantError(t, err, atrest.ErrTampered)
	_, err = s.Rewrap(t.Context(), nil)
	wantError(t, err, atrest.ErrKeyNotDerived)
}

func TestLogsShowNoMetadata(t *testing.T) {
	s := newStore(t, storage.Config{})
	opts := &storage.PutOptions{Metadata: storage.Metadata{"card": "4111 1111"}}
	info, err := s.PutBytes(t.Context(), "n", nil, opts)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&logged, nil), slog.NewTextHandler(&logged, nil)} {
		slog.New(handler).Info("put", "info", info, "pointer", &info, "opts", opts, "metadata", info.Metadata)
	}
	marshalled, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	if text := logged.String() + string(marshalled); strings.Contains(text, "4111") || !strings.Contains(text, "1 entries") {
		t.Error(text)
	}
}
