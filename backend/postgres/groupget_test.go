package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A get that is wanted, and what it is to return.
type wantedGet struct {
	name    string
	rng     backend.Range
	version backend.Version
	size    int // of the body
	err     error
}

// check makes the get.
func (w *wantedGet) check(t *testing.T, s *Store) {
	o, err := s.Get(t.Context(), w.name, w.rng, w.version)
	if err != nil || w.err != nil {
		if !errors.Is(err, w.err) {
			t.Errorf("%s %v: %v, want %v", w.name, w.rng, err, w.err)
		}
		return
	}
	defer o.Body.Close()
	got, err := io.ReadAll(o.Body)
	from, n := w.rng.Clamp(int64(w.size))
	if err != nil || !bytes.Equal(got, bodyOf(w.size)[from:from+n]) || string(o.Header) != "header" || o.Size != int64(w.size) {
		t.Errorf("%s %v: %d bytes of %d, header %q, %v", w.name, w.rng, len(got), o.Size, o.Header, err)
	}
}

// getTogether makes gets that share one statement, after those before it, which a locked
// table keeps under way.
func getTogether(t *testing.T, s *Store, wanted []wantedGet) {
	t.Helper()
	gathering(t, s, func(i int) { wanted[i].check(t, s) }, len(wanted))()
}

// gathering has n calls gather, and lets their statement go.
func gathering(t *testing.T, s *Store, call func(i int), n int) (done func()) {
	t.Helper()
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), inSchema(s.schema, `LOCK TABLE @schema@.objects`), pgx.QueryExecModeExec); err != nil {
		t.Fatal(err)
	}
	s.gets.Patience, s.gets.Near, s.gets.MaxYoung = time.Hour, 0, 1
	var gets sync.WaitGroup
	gets.Go(func() {
		if _, err := s.Get(t.Context(), "nothing", backend.All, ""); !errors.Is(err, atrest.ErrNotFound) {
			t.Error(err)
		}
	})
	eventually(t, "the first get waits for a lock", func() bool {
		var n int
		err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND strpos(query, $1) > 0`,
			pgx.QueryExecModeExec, s.schema).Scan(&n)
		return err == nil && n == 1
	})
	for i := range n {
		gets.Go(func() { call(i) })
	}
	eventually(t, "the gets wait", func() bool { return s.gets.Waiting() == n })
	if err := tx.Rollback(context.Background()); err != nil {
		t.Error(err)
	}
	return gets.Wait
}

// TestGroupGets has bodies in their rows and in chunks, of all lengths, and all kinds of ranges of them,
// fetched together, in each way of sending.
func TestGroupGets(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			var c sqlCounter
			s := newStore(t, newPool(t, server.URL()+"&default_query_exec_mode="+mode, c.intoPool))
			wanted := []wantedGet{{name: "none", rng: backend.All, err: atrest.ErrNotFound}}
			var long int64
			for _, size := range []int{0, 1, 1000, groupPage, groupPage + 1, inlineLimit, inlineLimit + 1, 2*chunkSize + 5} {
				name := fmt.Sprint("of", size)
				v := mustPut(t, s, name, size)
				for _, rng := range []backend.Range{backend.All, {}, {Offset: 1, Length: 100}, {Offset: 0, Length: groupPage}, {Offset: 900, Length: -1},
					{Offset: chunkSize - 50, Length: 100}, {Offset: chunkSize, Length: 100}, {Offset: 1 << 40, Length: 100}} {
					wanted = append(wanted, wantedGet{name, rng, v, size, nil})
					if _, n := rng.Clamp(int64(size)); n > groupPage {
						long++
					}
				}
				wanted = append(wanted, wantedGet{name, backend.All, versionOf(newContentID()), size, atrest.ErrConflict})
				if size > groupPage {
					long++
				}
			}
			before := c.shared.Load()
			getTogether(t, s, wanted)
			if n := c.shared.Load() - before; mode == "cache_statement" && n != 1 {
				t.Errorf("%d statements were shared, not one", n)
			}
			if n := c.gets.Load(); mode == "cache_statement" && n != 1+long {
				t.Errorf("%d gets went alone, want %d", n, 1+long)
			}
		})
	}
}

// TestGroupGetsLong counts the bytes of bodies that a shared statement is to leave out.
func TestGroupGetsLong(t *testing.T) {
	t.Parallel()
	var c counter
	s := newStore(t, newPool(t, server.URL(), c.limit, func(cfg *pgxpool.Config) { cfg.MaxConns = 8 }))
	get := wantedGet{"name", backend.All, mustPut(t, s, "name", inlineLimit), inlineLimit, nil}
	before := c.received.Load()
	getTogether(t, s, []wantedGet{get, get, get})
	if n := c.received.Load() - before; n < 3*inlineLimit || n > 3*inlineLimit+groupPage {
		t.Errorf("3 bodies of %d bytes took %d", inlineLimit, n)
	}
}

// TestGroupGetsDamaged has one row damaged, which only its own get minds.
func TestGroupGetsDamaged(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	var wanted []wantedGet
	for i := range 10 {
		name := fmt.Sprint("name", i)
		wanted = append(wanted, wantedGet{name, backend.All, mustPut(t, s, name, i), i, nil})
	}
	execSQL(t, s, `ALTER TABLE @schema@.objects DROP CONSTRAINT objects_row`)
	execSQL(t, s, `UPDATE @schema@.objects SET size = size + 1 WHERE name = 'name4'`)
	wanted[4].err = atrest.ErrTampered
	getTogether(t, s, wanted)
}

// slowGets has the reading of rows whose names begin with "slow" take some seconds.
func slowGets(t *testing.T, s *Store, seconds string) {
	t.Helper()
	execSQL(t, s, `ALTER TABLE @schema@.objects RENAME TO stored`)
	execSQL(t, s, `CREATE VIEW @schema@.objects AS SELECT * FROM @schema@.stored WHERE name NOT LIKE 'slow%' OR pg_sleep(`+seconds+`) IS NOT NULL`)
}

// TestGroupGetsCallerLeaves has callers leave while the statement for all is under way.
func TestGroupGetsCallerLeaves(t *testing.T) {
	t.Parallel()
	for _, all := range []bool{false, true} {
		t.Run(fmt.Sprint(all), func(t *testing.T) {
			t.Parallel()
			s := newStore(t, newPool(t, server.URL()))
			for i := range 5 {
				mustPut(t, s, fmt.Sprint("slow", i), i)
			}
			slowGets(t, s, map[bool]string{false: "0.2", true: "60"}[all])
			leaving, cancel := context.WithCancel(t.Context())
			defer cancel()
			start := time.Now()
			done := gathering(t, s, func(i int) {
				ctx := t.Context()
				if i == 0 || all {
					ctx = leaving
				}
				_, err := s.Get(ctx, fmt.Sprint("slow", i), backend.All, "")
				if ctx == leaving && !errors.Is(err, context.Canceled) || ctx != leaving && err != nil {
					t.Errorf("get %d: %v", i, err)
				}
			}, 5)
			waitsFor(t, s)
			cancel()
			done()
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
			wantIdle(t, s)
		})
	}
}

// TestGroupGetsTimeLimit has sessions with a limit that one statement for all exceeds, and one
// for each does not.
func TestGroupGetsTimeLimit(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	var wanted []wantedGet
	for i := range 25 {
		name := fmt.Sprint("slow", i)
		wanted = append(wanted, wantedGet{name, backend.All, mustPut(t, s, name, i), i, nil})
	}
	slowGets(t, s, "0.2")
	getTogether(t, elsewhere(s, newPool(t, server.URL()+"&statement_timeout=3000")), wanted)
}

// TestGroupGetsSeePuts has many callers who each read what they have just put.
func TestGroupGetsSeePuts(t *testing.T) {
	t.Parallel()
	var c sqlCounter
	s := newStore(t, newPool(t, server.URL(), c.intoPool))
	const callers, each = 64, 10
	before := c.all.Load()
	inParallel(t, callers, callers*each, func(i int) error {
		name := fmt.Sprint("name", i)
		v, err := s.Put(t.Context(), name, []byte("header"), bytes.NewReader(bodyOf(i)), backend.Condition{})
		if err != nil {
			return err
		}
		o, err := s.Get(t.Context(), name, backend.All, "")
		if err != nil {
			return err
		}
		defer o.Body.Close()
		if got, err := io.ReadAll(o.Body); err != nil || o.Version != v || !bytes.Equal(got, bodyOf(i)) {
			return fmt.Errorf("read %d bytes of version %s, want %d of %s, %v", len(got), o.Version, i, v, err)
		}
		return nil
	})
	if n := c.all.Load() - before; n > callers*each {
		t.Errorf("%d puts and gets took %d statements", 2*callers*each, n)
	}
}
