package storage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/backend/s3"
	"github.com/atrest/atrest/storage"
)

func TestRewrap(t *testing.T) {
	onEach(t, func(t *testing.T, blobs backend.Blobs) {
		keys := newKeys(t, vault)
		s := newStore(t, storage.Config{Backend: blobs, Keys: keys})
		n, chunks := 1100, 2
		if _, slow := blobs.(*s3.Store); slow {
			n, chunks = 100, 1 // the chunks are made by the store, for all engines alike
		}
		var wg sync.WaitGroup
		for w := range 16 {
			wg.Go(func() {
				for i := w; i < n; i += 16 {
					mustPut(t, s, fmt.Sprintf("o/%04d", i), fmt.Append(nil, i))
				}
			})
		}
		wg.Wait()
		before, err := s.Stat(t.Context(), "o/0007")
		if err != nil {
			t.Fatal(err)
		}
		_, bodyBefore := rawGet(t, blobs, "o/0007")

		if p, err := s.Rewrap(t.Context(), nil); err != nil || p.Current != int64(n) || p.Rewrapped != 0 {
			t.Fatalf("nothing to do: %+v, %v", p, err)
		}
		if err := keys.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustPut(t, s, "o/9999", []byte("new"))
		var steps []storage.RewrapProgress
		p, err := s.Rewrap(t.Context(), &storage.RewrapOptions{Progress: func(p storage.RewrapProgress) { steps = append(steps, p) }})
		if err != nil || p.Rewrapped != int64(n) || p.Current != 1 || p.Failed != 0 || p.KeyVersion != 2 || p.Last != "o/9999" {
			t.Fatalf("%+v, %v", p, err)
		}
		if len(steps) != chunks || steps[chunks-1] != p || chunks == 2 && steps[0].Last != "o/0999" {
			t.Fatalf("steps %+v", steps)
		}
		if p, err := s.Rewrap(t.Context(), nil); err != nil || p.Current != int64(n)+1 || p.Rewrapped != 0 {
			t.Fatalf("second run: %+v, %v", p, err)
		}
		after, err := s.Stat(t.Context(), "o/0007")
		if err != nil || after.KeyVersion != 2 || after.Version != before.Version || !after.Modified.Equal(before.Modified) {
			t.Fatalf("%+v became %+v, %v", before, after, err)
		}
		if _, body := rawGet(t, blobs, "o/0007"); !slices.Equal(body, bodyBefore) {
			t.Error("the body was touched")
		}
		for i := range n {
			if i%100 == 0 {
				wantContent(t, s, fmt.Sprintf("o/%04d", i), fmt.Append(nil, i))
			}
		}
	})
}

// TestRewrapResumes: what an interrupted rewrap has not done, the next one does.
func TestRewrapResumes(t *testing.T) {
	keys := newKeys(t, vault)
	s := newStore(t, storage.Config{Keys: keys})
	const n = 1200
	for i := range n {
		mustPut(t, s, fmt.Sprintf("%04d", i), nil)
	}
	if err := keys.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p, err := s.Rewrap(ctx, &storage.RewrapOptions{Concurrency: 1, Progress: func(storage.RewrapProgress) { cancel() }})
	wantError(t, err, context.Canceled)
	if p.Rewrapped == 0 || p.Last < "0999" {
		t.Fatalf("%+v", p)
	}
	rest, err := s.Rewrap(t.Context(), &storage.RewrapOptions{After: p.Last})
	if err != nil {
		t.Fatal(err)
	}
	if total := p.Rewrapped + rest.Rewrapped + rest.Current; total != n {
		t.Fatalf("%+v and %+v make %d", p, rest, total)
	}
	if all, err := s.Rewrap(t.Context(), nil); err != nil || all.Current != n {
		t.Fatalf("%+v, %v", all, err)
	}
}

// TestRewrapAgainstOverwrites: puts and deletes during a rewrap are neither
// lost nor undone.
func TestRewrapAgainstOverwrites(t *testing.T) {
	onEach(t, func(t *testing.T, blobs backend.Blobs) {
		keys := newKeys(t, vault)
		s := newStore(t, storage.Config{Backend: blobs, Keys: keys})
		const n = 40
		name := func(i int) string { return fmt.Sprintf("%02d", i) }
		for i := range n {
			mustPut(t, s, name(i), []byte("old"))
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := keys.Rotate(t.Context()); err != nil {
					t.Error(err)
					return
				}
				if _, err := s.Rewrap(t.Context(), nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
		for round := range 5 {
			for i := range n {
				if i%3 == 0 {
					if err := s.Delete(t.Context(), name(i), nil); err != nil {
						t.Fatal(err)
					}
				} else {
					mustPut(t, s, name(i), fmt.Append(nil, round))
				}
			}
		}
		close(stop)
		wg.Wait()
		for i := range n {
			if i%3 == 0 {
				_, err := s.Stat(t.Context(), name(i))
				wantError(t, err, atrest.ErrNotFound)
			} else {
				wantContent(t, s, name(i), []byte("4"))
			}
		}
	})
}

// TestRewrapReportsAndGoesOn: what can't be rewrapped is named, and as it was.
func TestRewrapReportsAndGoesOn(t *testing.T) {
	blobs := memory.New()
	keys := newKeys(t, vault)
	s := newStore(t, storage.Config{Backend: blobs, Keys: keys})
	for _, name := range []string{"a", "b", "c", "d"} {
		mustPut(t, s, name, []byte(name))
	}
	header, body := rawGet(t, blobs, "a")
	rawPut(t, blobs, "b", header, body)      // another object's
	rawPut(t, blobs, "c", []byte("x"), body) // no header at all
	if err := keys.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	var failed []string
	p, err := s.Rewrap(t.Context(), &storage.RewrapOptions{Failed: func(name string, err error) {
		wantError(t, err, atrest.ErrTampered)
		failed = append(failed, name)
	}})
	wantError(t, err, atrest.ErrTampered)
	slices.Sort(failed)
	if !slices.Equal(failed, []string{"b", "c"}) || p.Failed != 2 || p.Rewrapped != 2 || !strings.Contains(err.Error(), "2 objects") {
		t.Fatalf("%v %+v %v", failed, p, err)
	}
	wantContent(t, s, "a", []byte("a"))
	wantContent(t, s, "d", []byte("d"))
}

// TestKeyVersionTooOld: the guard that makes a rotation final has its own
// error, and a rewrap before it is enough.
func TestKeyVersionTooOld(t *testing.T) {
	keys := newKeys(t, vault)
	s := newStore(t, storage.Config{Keys: keys})
	mustPut(t, s, "old", []byte("old"))
	mustPut(t, s, "kept", []byte("kept"))
	if err := keys.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rewrap(t.Context(), &storage.RewrapOptions{Prefix: "kept"}); err != nil {
		t.Fatal(err)
	}
	client, err := vault.Client()
	if err != nil {
		t.Fatal(err)
	}
	_, key := keys.Key()
	if _, err := client.Logical().WriteWithContext(t.Context(), "transit/keys/"+key+"/config", map[string]any{"min_decryption_version": 2}); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.GetBytes(t.Context(), "old")
	wantError(t, err, atrest.ErrKeyVersionTooOld)
	if errors.Is(err, atrest.ErrTampered) {
		t.Error("an old key version is called tampering")
	}
	wantContent(t, s, "kept", []byte("kept"))
	_, err = s.Rewrap(t.Context(), nil)
	wantError(t, err, atrest.ErrKeyVersionTooOld)
}
