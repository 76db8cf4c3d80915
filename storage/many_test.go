package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/storage"
)

// secretsOf yields n secrets after change has had its way with each.
func secretsOf(n int, change ...func(i int, s *storage.Secret)) iter.Seq2[storage.Secret, error] {
	return func(yield func(storage.Secret, error) bool) {
		for i := range n {
			s := storage.Secret{Name: fmt.Sprintf("secret-%05d", i), Content: fmt.Appendf(nil, "content of %d", i)}
			for _, f := range change {
				f(i, &s)
			}
			if !yield(s, nil) {
				return
			}
		}
	}
}

func namesOf(n int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for s := range secretsOf(n) {
			if !yield(s.Name, nil) {
				return
			}
		}
	}
}

// TestMany puts and gets secrets, in few requests to Vault.
func TestMany(t *testing.T) {
	const n = 3000
	keys, requests := countedKeys(t)
	s := newStore(t, storage.Config{Keys: keys})
	next := 0
	for info, err := range s.PutMany(t.Context(), secretsOf(n), nil) {
		want := fmt.Sprintf("secret-%05d", next)
		if err != nil || info.Name != want || info.Version == "" || info.Size != int64(len(fmt.Sprint("content of ", next))) {
			t.Fatalf("%d: %+v, %v", next, info, err)
		}
		next++
	}
	if next != n {
		t.Fatalf("%d of %d were put", next, n)
	}
	if got := requests.Load(); got > n/20 {
		t.Errorf("%d requests to Vault for %d secrets", got, n)
	}
	next = 0
	for got, err := range s.GetMany(t.Context(), namesOf(n), &storage.ManyOptions{Concurrency: 100}) {
		if err != nil || got.Info.Name != fmt.Sprintf("secret-%05d", next) || string(got.Content) != fmt.Sprint("content of ", next) {
			t.Fatalf("%d: %+v, %q, %v", next, got.Info, got.Content, err)
		}
		next++
	}
	if next != n {
		t.Fatalf("%d of %d were got", next, n)
	}
	for range s.PutMany(t.Context(), secretsOf(0), nil) {
		t.Error("nothing yields something")
	}
}

// TestManyRefused has some secrets refused, which does not keep the others from being put.
func TestManyRefused(t *testing.T) {
	s := newStore(t, storage.Config{})
	mustPut(t, s, "secret-00007", []byte("it was there"))
	secrets := secretsOf(200, func(i int, secret *storage.Secret) {
		switch i {
		case 3:
			secret.Name = ""
		case 7:
			secret.Options = &storage.PutOptions{IfAbsent: true}
		case 9:
			secret.Options = &storage.PutOptions{Metadata: storage.Metadata{"k": "v"}}
		}
	})
	i := 0
	for info, err := range s.PutMany(t.Context(), secrets, nil) {
		switch i {
		case 3:
			wantError(t, err, atrest.ErrInvalidName)
		case 7:
			wantError(t, err, atrest.ErrExists)
			if info.Name != "secret-00007" {
				t.Errorf("the error is of %q", info.Name)
			}
		default:
			if err != nil {
				t.Errorf("%d: %v", i, err)
			}
			if i == 9 && info.Metadata["k"] != "v" {
				t.Errorf("metadata: %v", info.Metadata)
			}
		}
		i++
	}
	if i != 200 {
		t.Errorf("it ended after %d", i)
	}
	i = 0
	for got, err := range s.GetMany(t.Context(), namesOf(201), nil) {
		switch {
		case i == 3 || i == 200:
			wantError(t, err, atrest.ErrNotFound)
		case err != nil:
			t.Errorf("%d: %v", i, err)
		case i == 7 && !bytes.Equal(got.Content, []byte("it was there")):
			t.Errorf("it is %q now", got.Content)
		}
		i++
	}
}

// TestManyEnds is about what ends the loop early.
func TestManyEnds(t *testing.T) {
	broken := errors.New("the source is broken")
	s := newStore(t, storage.Config{})
	put := 0
	for info, err := range s.PutMany(t.Context(), func(yield func(storage.Secret, error) bool) {
		for secret := range secretsOf(10) {
			if !yield(secret, nil) {
				return
			}
		}
		yield(storage.Secret{}, broken)
	}, nil) {
		if err == nil {
			put++
		} else if !errors.Is(err, broken) || info.Name != "" {
			t.Errorf("%+v, %v", info, err)
		}
	}
	if put != 10 {
		t.Errorf("%d were put before the source broke", put)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for _, err := range s.PutMany(ctx, secretsOf(100_000), nil) {
		last = err
		cancel()
	}
	wantError(t, last, context.Canceled)
	for range s.PutMany(t.Context(), secretsOf(100_000), nil) {
		break
	}

	for what, with := range walkFailures() {
		blobs := &scripted{Blobs: memory.New()}
		s := newStore(t, storage.Config{Backend: blobs})
		blobs.put, _ = fails(10, with)
		good, bad := 0, 0
		var last error
		for info, err := range s.PutMany(t.Context(), secretsOf(5000), &storage.ManyOptions{Concurrency: 16}) {
			switch {
			case err == nil:
				good++
			case info.Name == "":
				last = err
			default:
				bad++
			}
		}
		wantGivenUp(t, what, last, with, int64(bad), bad)
		if good > 10 {
			t.Errorf("%s: %d were put", what, good)
		}
	}
}

// TestPutManyWaits tells how long a secret waits for others, by a clock that goes on only while all
// do: not at all once there are enough of them, else a millisecond, also if one comes after the other
// without end. The names are invalid, so that nobody is asked who knows nothing of that clock.
func TestPutManyWaits(t *testing.T) {
	const none, most = time.Duration(0), time.Millisecond
	repeat := func(pauses ...time.Duration) []time.Duration { return slices.Repeat(pauses, 100) }
	s := newStore(t, storage.Config{Keys: struct{ storage.KeyWrapper }{newKeys(t, vault)}})
	for _, c := range []struct {
		what   string
		pauses []time.Duration // after each secret
		atOnce int             // four times as many as go together
		want   time.Duration   // how long one waits at most
	}{
		{"alone", repeat(time.Hour), 512, most},
		{"a few", repeat(0, 0, time.Hour), 512, most},
		{"steady", repeat(most / 4), 512, most},
		{"barely apart", repeat(most - 1), 512, most},
		{"enough", repeat(0, 0, 0, 0, time.Hour), 20, none},
		{"one at a time", repeat(most / 4), 1, none},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				came := make(chan time.Time, len(c.pauses))
				secrets := func(yield func(storage.Secret, error) bool) {
					for _, pause := range c.pauses {
						came <- time.Now()
						if !yield(storage.Secret{}, nil) {
							return
						}
						time.Sleep(pause)
					}
				}
				n, longest := 0, none
				for _, err := range s.PutMany(t.Context(), secrets, &storage.ManyOptions{Concurrency: c.atOnce}) {
					wantError(t, err, atrest.ErrInvalidName)
					longest = max(longest, time.Since(<-came))
					n++
				}
				if n != len(c.pauses) || longest != c.want {
					t.Errorf("the longest that one of %d waited is %v; want %d and %v", n, longest, len(c.pauses), c.want)
				}
			})
		})
	}
}
