package postgres

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5/pgxpool"
)

func ofTwo(cfg *pgxpool.Config) { cfg.MaxConns = 2 }

// TestCopiesInSmallPool has a pool of two connections, and puts that each read from
// the same store.
func TestCopiesInSmallPool(t *testing.T) {
	t.Parallel()
	const size, copies = 6 * chunkSize, 8
	s := newStore(t, newPool(t, server.URL(), ofTwo))
	v := mustPut(t, s, "name", size)
	var wg sync.WaitGroup
	for i := range copies {
		wg.Go(func() {
			o, err := s.Get(t.Context(), "name", backend.All, v)
			if err == nil {
				defer o.Body.Close()
				_, err = s.Put(t.Context(), fmt.Sprint("copy", i), []byte("header"), o.Body, backend.Condition{})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range copies {
		wantObject(t, s, fmt.Sprint("copy", i), "", size)
	}
	wantIdle(t, s)
}

// TestStandstill has two stores with one pool, which between them keep all of it for
// puts, both of whose bodies wait for a connection.
func TestStandstill(t *testing.T) {
	t.Parallel()
	pool := newPool(t, server.URL(), ofTwo)
	stores := []*Store{newStore(t, pool), newStore(t, pool)}
	var puts, begun sync.WaitGroup
	begun.Add(len(stores))
	errs := make([]error, len(stores))
	for i, s := range stores {
		mustPut(t, s, "src", 10)
		s.standstill = 300 * time.Millisecond
		puts.Go(func() {
			body := io.MultiReader(bytes.NewReader(make([]byte, chunkSize)), readerFunc(func([]byte) (int, error) {
				begun.Done() // in a transaction, which has a connection
				begun.Wait()
				if err := readAll(t, s, "src"); err != nil {
					return 0, err
				}
				return 0, io.EOF
			}))
			_, errs[i] = s.Put(t.Context(), "name", nil, body, backend.Condition{})
		})
	}
	puts.Wait()
	for _, err := range errs {
		if err != nil && (!errors.Is(err, atrest.ErrUnavailable) || !strings.Contains(err.Error(), "a pool of its own")) {
			t.Errorf("%v, want ErrUnavailable with the remedy", err)
		}
	}
	if errors.Join(errs...) == nil {
		t.Error("nothing has waited")
	}
	for _, s := range stores {
		mustPut(t, s, "name", 2*chunkSize)
		wantIdle(t, s)
	}
}

// TestLongQueue has many who wait for much longer, each in turn: none gives up.
func TestLongQueue(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL(), ofTwo))
	s.standstill = 400 * time.Millisecond
	var wg sync.WaitGroup
	start := time.Now()
	for range 20 {
		wg.Go(func() {
			conn, err := s.acquire(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			time.Sleep(100 * time.Millisecond)
			conn.Release()
		})
	}
	wg.Wait()
	if took := time.Since(start); took < 2*s.standstill {
		t.Errorf("it took %v only", took)
	}
}

// TestStandstillSince has a connection handed out to another in the midst of a wait, which
// goes on for all the time of a standstill from then on.
func TestStandstillSince(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL(), ofTwo))
	s.standstill = 800 * time.Millisecond
	first, second := mustAcquire(t, s), mustAcquire(t, s)
	defer second.Release()
	done := make(chan struct{})
	var other sync.WaitGroup
	defer other.Wait()
	defer close(done)
	other.Go(func() {
		conn, err := s.pool.Acquire(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		<-done
		conn.Release()
	})
	time.Sleep(100 * time.Millisecond) // the other is first in the queue
	var since time.Time
	time.AfterFunc(s.standstill*9/20, func() {
		since = time.Now()
		first.Release()
	})
	_, err := s.acquire(t.Context())
	if took := time.Since(since); !errors.Is(err, atrest.ErrUnavailable) || took < s.standstill {
		t.Errorf("%v, %v after a connection was handed out; want ErrUnavailable, and not before %v", err, took, s.standstill)
	}
}

func mustAcquire(t *testing.T, s *Store) *pgxpool.Conn {
	t.Helper()
	conn, err := s.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
