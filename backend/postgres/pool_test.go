package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A counter counts round trips, which is how often something is sent after something
// was received, and the bytes received.
type counter struct {
	trips, received atomic.Int64
}

// limit makes a pool of two connections whose round trips are counted. The pool makes
// none of its own: it would ask after a connection that was idle for a second.
func (c *counter) limit(cfg *pgxpool.Config) {
	cfg.MaxConns = 2
	cfg.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return &countedConn{Conn: conn, c: c}, err
	}
}

type countedConn struct {
	net.Conn
	c    *counter
	sent atomic.Bool
}

func (c *countedConn) Write(p []byte) (int, error) {
	if !c.sent.Swap(true) {
		c.c.trips.Add(1)
	}
	return c.Conn.Write(p)
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.c.received.Add(int64(n))
	if n > 0 {
		c.sent.Store(false)
	}
	return n, err
}

// TestRoundTrips counts them for each call, in each mode of pgx.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			var c counter
			s := newStore(t, newPool(t, server.URL()+"&default_query_exec_mode="+mode, c.limit))
			allOperations(t, s) // what is to be prepared is prepared then
			allOperations(t, s)
			const large = 2*chunkSize + 1
			v := mustPut(t, s, "name", 1000)
			w := mustPut(t, s, "large", large)
			update := backend.HeaderUpdate{Name: "name", Version: v, Old: []byte("header"), New: []byte("header")}
			var updates []backend.HeaderUpdate
			for i := range 5000 {
				update.Name = fmt.Sprint("name", i)
				updates = append(updates, update)
			}
			update.Name = "name"
			for _, step := range []struct {
				name string
				want int64
				do   func() error
			}{
				{"put", 1, func() error { mustPut(t, s, "other", 1000); return nil }},
				{"put of the greatest inline body", 1, func() error { mustPut(t, s, "other", inlineLimit); return nil }},
				{"get", 1, func() error { wantObject(t, s, "name", v, 1000); return nil }},
				{"get of a header", 1, func() error { _, err := s.Get(t.Context(), "large", backend.Range{}, ""); return err }},
				{"get of a range", 1, func() error {
					o, err := s.Get(t.Context(), "large", backend.Range{Offset: chunkSize + 5, Length: 4096}, "")
					if err == nil {
						_, err = io.Copy(io.Discard, o.Body)
					}
					return err
				}},
				{"get of more", 2, func() error { wantObject(t, s, "large", w, large); return nil }},
				{"set header", 1, func() error { return s.SetHeader(t.Context(), update) }},
				{"set 5000 headers", 3, func() error { s.SetHeaders(t.Context(), updates); return nil }},
				{"list", 1, func() error { readList(t, s); return nil }},
				{"copy", 1, func() error {
					_, err := s.Copy(t.Context(), "copy", "large", w, nil, backend.Condition{})
					return err
				}},
				{"delete", 1, func() error { return s.Delete(t.Context(), "copy", backend.Condition{}) }},
			} {
				before := c.trips.Load()
				if err := step.do(); err != nil {
					t.Fatalf("%s: %v", step.name, err)
				}
				if got := c.trips.Load() - before; got != step.want {
					t.Errorf("%s: %d round trips; want %d", step.name, got, step.want)
				}
			}
			wantPrepared(t, s, mode == "cache_statement")
		})
	}
}

func readList(t *testing.T, s *Store) (names []string) {
	t.Helper()
	for e, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, e.Name)
	}
	return names
}

// wantPrepared checks whether any statement was left prepared on a connection.
func wantPrepared(t *testing.T, s *Store, want bool) {
	t.Helper()
	var n int
	if err := s.pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_prepared_statements", pgx.QueryExecModeExec).Scan(&n); err != nil {
		t.Fatal(err)
	}
	if (n > 0) != want {
		t.Errorf("%d statements are prepared", n)
	}
}

// TestSmallPool has a pool of two connections, and many bodies that are open.
func TestSmallPool(t *testing.T) {
	t.Parallel()
	const size = 12 * chunkSize
	s := newStore(t, newPool(t, server.URL(), ofTwo))
	v := mustPut(t, s, "name", size)
	var open []*backend.Object
	for range 10 {
		o, err := s.Get(t.Context(), "name", backend.All, v)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(o.Body, make([]byte, 3*chunkSize)); err != nil {
			t.Fatal(err)
		}
		open = append(open, o)
	}
	wantIdle(t, s)
	for _, o := range open {
		if n, err := io.Copy(io.Discard, o.Body); n != size-3*chunkSize || err != nil {
			t.Errorf("the rest of an open body: %d bytes, %v", n, err)
		}
		o.Body.Close()
	}
	wantIdle(t, s)
}

// wantIdle waits until no connection is in use.
func wantIdle(t *testing.T, s *Store) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); s.pool.Stat().AcquiredConns() > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are in use", s.pool.Stat().AcquiredConns())
		}
	}
}

// TestOneConnection checks that a pool of one is refused.
func TestOneConnection(t *testing.T) {
	t.Parallel()
	pool := newPool(t, server.URL(), func(c *pgxpool.Config) { c.MaxConns = 1 })
	if _, err := New(t.Context(), Config{Pool: pool}); err == nil || !strings.Contains(err.Error(), "pool_max_conns") {
		t.Error(err)
	}
	if _, err := New(t.Context(), Config{}); err == nil {
		t.Error("a Config without a pool was taken")
	}
}

// TestPanic checks that a panic of a body comes out of Put, on the caller's goroutine, and
// that nothing is left of it.
func TestPanic(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL(), ofTwo))
	v := mustPut(t, s, "name", 1000)
	for range 3 { // more than there are connections
		for _, n := range []int{0, 1000, inlineLimit + 1, 5*chunkSize + 1} {
			func() {
				defer func() {
					if r := recover(); r != "as the test asks" {
						t.Errorf("after %d bytes: recovered %v", n, r)
					}
				}()
				_, err := s.Put(t.Context(), "name", nil, stalling(n, func() { panic("as the test asks") }), backend.Condition{})
				t.Errorf("Put of a body that panics returned the error %v", err)
			}()
		}
	}
	if n := s.pool.Stat().AcquiredConns(); n > 0 || len(s.writers) > 0 {
		t.Errorf("%d connections and %d large puts are left", n, len(s.writers))
	}
	wantObject(t, s, "name", v, 1000)
	wantNoResidue(t, s)
}

// TestIsolation has transactions that are stricter than the store needs: the others' changes are
// errors there, which must not become the caller's.
func TestIsolation(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"serializable", "repeatable%20read"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			s := newStore(t, newPool(t, server.URL()+"&default_transaction_isolation="+level))
			const callers, each = 8, 15
			mustPut(t, s, "counter", 0)
			large := mustPut(t, s, "large", 2*chunkSize)
			var wg sync.WaitGroup
			for i := range callers {
				wg.Go(func() {
					for k := range each {
						if err := contend(t.Context(), s, large, i, k); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			o, err := s.Get(t.Context(), "counter", backend.Range{}, "")
			if err != nil || o.Size != callers*each {
				t.Errorf("%d increments count %d, %v", callers*each, o.Size, err)
			}
			wantNoResidue(t, s)
		})
	}
}

// contend makes changes of which no one else's success is a reason for failure, and one
// increment of a counter, which is the size of an object.
func contend(ctx context.Context, s *Store, large backend.Version, caller, round int) error {
	_, err := s.Put(ctx, "hot", fmt.Append(nil, caller), strings.NewReader("body"), backend.Condition{})
	if err != nil {
		return err
	}
	if round%5 == 0 {
		if _, err := s.Copy(ctx, "hot", "large", large, nil, backend.Condition{}); err != nil {
			return err
		}
		if _, err := s.Put(ctx, "hot", nil, bytes.NewReader(make([]byte, inlineLimit+1)), backend.Condition{}); err != nil {
			return err
		}
	}
	if round%3 == 0 {
		if err := s.Delete(ctx, "hot", backend.Condition{}); err != nil {
			return err
		}
	}
	for {
		o, err := s.Get(ctx, "counter", backend.Range{}, "")
		if err != nil {
			return err
		}
		_, err = s.Put(ctx, "counter", nil, bytes.NewReader(make([]byte, o.Size+1)), backend.Condition{IfVersion: o.Version})
		if !errors.Is(err, atrest.ErrConflict) {
			return err
		}
	}
}

// TestPreparedBehindBouncer checks that a pool that is not set up for a pooler gets to know
// the remedy.
func TestPreparedBehindBouncer(t *testing.T) {
	t.Parallel()
	bouncer, err := server.StartBouncer(t.Context())
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("PgBouncer is NOT tested:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := bouncer.Stop(); err != nil {
			t.Error(err)
		}
	}()
	var failed error
	for i := 0; i < 20 && failed == nil; i++ {
		pool := newPool(t, bouncer.URL())
		_, failed = New(t.Context(), Config{Pool: pool, Schema: newSchema(t, newPool(t, server.URL()))})
	}
	// From 1.21 on PgBouncer can be set to keep prepared statements.
	if failed != nil && (!errors.Is(failed, atrest.ErrUnsupported) || !strings.Contains(failed.Error(), "default_query_exec_mode=exec")) {
		t.Error(failed)
	}
}
