package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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

// TestGroupNames puts objects of different names together, in each way of sending.
func TestGroupNames(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
		for _, cond := range []backend.Condition{{}, {IfAbsent: true}} {
			t.Run(fmt.Sprint(mode, cond.IfAbsent), func(t *testing.T) {
				t.Parallel()
				var c sqlCounter
				s := newStore(t, newPool(t, server.URL()+"&default_query_exec_mode="+mode, c.intoPool))
				names := numbered(groupSize - 1)
				if !cond.IfAbsent {
					mustPut(t, s, names[7], 1000)
					mustPut(t, s, names[8], 2*chunkSize)
				}
				before := c.alone.Load() + 2 // see busy
				versions, errs, done := together(t, s, cond, names, without(t))
				done()
				c.alone.Add(-before)
				for i, name := range names {
					if errs[i] != nil {
						t.Fatal(errs[i])
					}
					wantObject(t, s, name, versions[i], i)
				}
				if shared, alone := c.shared.Load(), c.alone.Load(); mode == "cache_statement" && (shared != 1 || alone != 0) {
					t.Errorf("%d statements for many and %d for one each, want one for all", shared, alone)
				}
				wantNoResidue(t, s)
				wantNoSetting(t, s)
			})
		}
	}
}

// wantNoSetting checks that no connection is left with a time limit.
func wantNoSetting(t *testing.T, s *Store) {
	t.Helper()
	for _, conn := range s.pool.AcquireAllIdle(t.Context()) {
		var limit string
		if err := conn.QueryRow(t.Context(), "SHOW lock_timeout", pgx.QueryExecModeExec).Scan(&limit); err != nil || limit != "0" {
			t.Errorf("a connection is left with lock_timeout %s, %v", limit, err)
		}
		conn.Release()
	}
}

// TestGroupSameName puts 64 objects of one name together, and one of another.
func TestGroupSameName(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	names := append(slices.Repeat([]string{"name"}, 64), "other")
	ifAbsent := backend.Condition{IfAbsent: true}

	versions, errs, done := together(t, s, ifAbsent, names, without(t))
	done()
	for i, err := range errs {
		if won := i == 0 || i == 64; won != (err == nil) || err != nil && !errors.Is(err, atrest.ErrExists) {
			t.Errorf("if absent, put %d: %v", i, err)
		}
	}
	wantObject(t, s, "name", versions[0], 0)
	wantObject(t, s, "other", versions[64], 64)

	versions, errs, done = together(t, s, backend.Condition{}, names, without(t))
	done()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	wantObject(t, s, "name", versions[63], 63)
	wantObject(t, s, "other", versions[64], 64)
	slices.Sort(versions)
	if len(slices.Compact(versions)) != 65 {
		t.Error("two puts have one version")
	}

	_, errs, done = together(t, s, ifAbsent, names, without(t))
	done()
	for i, err := range errs {
		if !errors.Is(err, atrest.ErrExists) {
			t.Errorf("if absent, put %d over an object: %v", i, err)
		}
	}
}

// TestGroupLockedRow has one row locked by another transaction, which only its own put
// waits for.
func TestGroupLockedRow(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	names := numbered(20)
	mustPut(t, s, names[3], 1000)
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), inSchema(s.schema, `SELECT FROM @schema@.objects WHERE name = $1 FOR UPDATE`), names[3]); err != nil {
		t.Fatal(err)
	}
	var returned atomic.Int64
	release := busy(t, s)
	versions := make([]backend.Version, len(names))
	var puts sync.WaitGroup
	for i, name := range names {
		puts.Go(func() {
			versions[i] = mustPut(t, s, name, i)
			returned.Add(1)
		})
	}
	eventually(t, "puts wait", func() bool { return s.puts.Waiting() == len(names) })
	release()
	eventually(t, "the others are put", func() bool { return returned.Load() == int64(len(names)-1) })
	time.Sleep(100 * time.Millisecond)
	if versions[3] != "" {
		t.Error("a locked row was changed")
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	puts.Wait()
	for i, name := range names {
		wantObject(t, s, name, versions[i], i)
	}
}

// TestGroupRefusedRow has one row refused by something in the database that is not ours.
func TestGroupRefusedRow(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	names := numbered(10)
	slow(t, s, "name-005", "0", `RAISE EXCEPTION ''not this one'';`)
	versions, errs, done := together(t, s, backend.Condition{IfAbsent: true}, names, without(t))
	done()
	for i, name := range names {
		if name == "name-005" {
			if errs[i] == nil || !strings.Contains(errs[i].Error(), "not this one") {
				t.Errorf("%s: %v", name, errs[i])
			}
			continue
		}
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		wantObject(t, s, name, versions[i], i)
	}
}

// TestGroupTimeLimit has sessions with a limit that one statement for all exceeds, and one for each does not.
func TestGroupTimeLimit(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	slow(t, s, "name%", "0.15", "")
	names := numbered(30)
	limited := elsewhere(s, newPool(t, server.URL()+"&statement_timeout=3000", func(c *pgxpool.Config) { c.MaxConns = 20 }))
	versions, errs, done := together(t, limited, backend.Condition{}, names, without(t))
	done()
	for i, name := range names {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		wantObject(t, s, name, versions[i], i)
	}
}

// TestGroupCallerLeaves has callers whose context ends while the statement of all is under way.
func TestGroupCallerLeaves(t *testing.T) {
	t.Parallel()
	leave := func(t *testing.T, seconds string, leaves func(i int) bool) (s *Store, errs []error) {
		s = newStore(t, newPool(t, server.URL()))
		slow(t, s, "name-001", seconds, "")
		leaving, cancel := context.WithCancel(t.Context())
		defer cancel()
		names := numbered(5)
		versions, errs, done := together(t, s, backend.Condition{}, names, func(i int) context.Context {
			if leaves(i) {
				return leaving
			}
			return t.Context()
		})
		waitsFor(t, s)
		cancel()
		done()
		for i, name := range names {
			if errs[i] == nil {
				wantObject(t, s, name, versions[i], i)
			}
		}
		return s, errs
	}
	t.Run("one", func(t *testing.T) {
		t.Parallel()
		if _, errs := leave(t, "0.5", func(i int) bool { return i == 0 }); errors.Join(errs...) != nil {
			t.Errorf("%v: what was put for all is a success for each", errs)
		}
	})
	t.Run("one, for long", func(t *testing.T) {
		t.Parallel()
		s, errs := leave(t, "4", func(i int) bool { return i == 0 })
		for i, err := range errs {
			switch {
			case i != 0 && err != nil:
				t.Errorf("put %d: %v", i, err)
			case i == 0 && (!errors.Is(err, context.Canceled) || !errors.Is(err, atrest.ErrUnavailable) || !strings.Contains(err.Error(), "may have been made")):
				t.Errorf("%v, want an error that leaves it open", err)
			}
		}
		wantObject(t, s, "name-005", "", 0)
	})
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		start := time.Now()
		s, errs := leave(t, "60", func(i int) bool { return true })
		for _, err := range errs {
			if !errors.Is(err, context.Canceled) || errors.Is(err, atrest.ErrUnavailable) {
				t.Errorf("%v, want the end of the context only", err)
			}
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("it took %v", took)
		}
		if names := readList(t, s); len(names) > 0 {
			t.Errorf("there are %q", names)
		}
	})
	t.Run("waiting", func(t *testing.T) {
		t.Parallel()
		s := newStore(t, newPool(t, server.URL()))
		release := busy(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := s.Put(ctx, "name", nil, strings.NewReader("body"), backend.Condition{})
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, atrest.ErrUnavailable) {
			t.Errorf("%v, want the end of the context only", err)
		}
		release()
		if names := readList(t, s); len(names) > 0 {
			t.Errorf("there are %q", names)
		}
	})
}

// TestGroupBackendKilled ends the backend in the midst of a statement.
func TestGroupBackendKilled(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	slow(t, s, "name-005", "30", "")
	_, errs, done := together(t, s, backend.Condition{}, numbered(10), without(t))
	execSQL(t, s, "SELECT pg_terminate_backend($1)", waitsFor(t, s))
	done()
	for i, err := range errs {
		if !errors.Is(err, atrest.ErrUnavailable) || !strings.Contains(err.Error(), "may have been made") {
			t.Errorf("put %d: %v, want ErrUnavailable that leaves it open", i, err)
		}
	}
	if names := readList(t, s); len(names) > 0 {
		t.Errorf("there are %q", names)
	}
}

// TestGroupLostAnswer has the answer for all lost: each put finds its own object.
func TestGroupLostAnswer(t *testing.T) {
	t.Parallel()
	for name, when := range map[string]moment{"sent": sent, "answered": answered} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &cutter{text: "thing", when: when}
			s := newStore(t, newPool(t, server.URL()))
			cut := elsewhere(s, newPool(t, server.URL()+"&default_query_exec_mode=exec", c.intoPool))
			cut.mode = pgx.QueryExecModeExec
			names := append(numbered(20), "thing")
			versions, errs, done := together(t, cut, backend.Condition{IfAbsent: true}, names, without(t))
			done()
			for i, name := range names {
				if errs[i] != nil {
					t.Fatal(errs[i])
				}
				wantObject(t, s, name, versions[i], i)
			}
			if n := c.cuts.Load(); n != 1 {
				t.Errorf("%d connections were cut", n)
			}
		})
	}
}

// TestGroupStatements counts the statements of many puts at once, and of one.
func TestGroupStatements(t *testing.T) {
	t.Parallel()
	var c sqlCounter
	s := newStore(t, newPool(t, server.URL(), c.intoPool))
	before := c.all.Load()
	mustPut(t, s, "name", 1000)
	if n := c.all.Load() - before; n != 1 || c.shared.Load() != 0 {
		t.Errorf("a lone put took %d statements, %d of them for many", n, c.shared.Load())
	}
	before = c.all.Load()
	var puts sync.WaitGroup
	for i := range 256 {
		puts.Go(func() { mustPut(t, s, fmt.Sprint("name", i), 1000) })
	}
	puts.Wait()
	if n := c.all.Load() - before; n > 40 {
		t.Errorf("256 puts took %d statements", n)
	}
	if n := len(readList(t, s)); n != 257 {
		t.Errorf("there are %d objects", n)
	}
}

// TestGroupOthersGoAlone has puts that do not gather, whatever is under way.
func TestGroupOthersGoAlone(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	release := busy(t, s)
	v := mustPut(t, s, "long", groupBody+1)
	v, err := s.Put(t.Context(), "long", []byte("header"), bytes.NewReader(bodyOf(10)), backend.Condition{IfVersion: v})
	if err != nil {
		t.Fatal(err)
	}
	wantObject(t, s, "long", v, 10)
	v, err = s.Put(t.Context(), "long if absent", []byte("header"), bytes.NewReader(bodyOf(groupBody+1)), backend.Condition{IfAbsent: true})
	if err != nil {
		t.Fatal(err)
	}
	wantObject(t, s, "long if absent", v, groupBody+1)
	release()
}

// TestGroupSmallPool has a pool of two connections, with large puts whose bodies come from the
// same store, and small ones at the same time.
func TestGroupSmallPool(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL(), ofTwo))
	mustPut(t, s, "source", 3*chunkSize)
	var puts sync.WaitGroup
	for i := range 4 {
		puts.Go(func() {
			o, err := s.Get(t.Context(), "source", backend.All, "")
			if err != nil {
				t.Error(err)
				return
			}
			defer o.Body.Close()
			small := readerFunc(func([]byte) (int, error) { mustPut(t, s, "between", 10); return 0, io.EOF })
			if _, err := s.Put(t.Context(), fmt.Sprint("large", i), nil, io.MultiReader(o.Body, small), backend.Condition{}); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range 64 {
		puts.Go(func() {
			for k := range 5 {
				mustPut(t, s, fmt.Sprint("small", i), k)
			}
		})
	}
	puts.Wait()
	if n := len(readList(t, s)); n != 1+1+4+64 {
		t.Errorf("there are %d objects", n)
	}
	wantIdle(t, s)
}
