package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A lostPut is a change that makes the object "thing", the text by which to know
// what decides it, and the mode of pgx in which that is sent.
type lostPut struct {
	what, mode, text string
	size             int
	do               func(t *testing.T, s *Store, src backend.Version) (backend.Version, error)
}

var lostPuts = []lostPut{
	{"small put", "exec", "thing", 1000, putThing(1000)},
	{"prepared put", "cache_statement", "thing", 1000, putThing(1000)},
	{"large put", "exec", "COMMIT\x00", chunkSize, putThing(chunkSize)},
	{"copy", "exec", "thing", 2000, func(t *testing.T, s *Store, src backend.Version) (backend.Version, error) {
		return s.Copy(t.Context(), "thing", "src", src, []byte("header"), backend.Condition{IfAbsent: true})
	}},
}

func putThing(size int) func(*testing.T, *Store, backend.Version) (backend.Version, error) {
	return func(t *testing.T, s *Store, _ backend.Version) (backend.Version, error) {
		ifAbsent := backend.Condition{IfAbsent: true}
		if _, err := s.Put(t.Context(), "src", nil, bytes.NewReader(nil), ifAbsent); !errors.Is(err, atrest.ErrExists) {
			t.Error(err) // with this, what is to be prepared is
		}
		return s.Put(t.Context(), "thing", []byte("header"), bytes.NewReader(bodyOf(size)), ifAbsent)
	}
}

// newCutStore opens a store in which a commit of "thing" takes some seconds, and another
// one on the same schema whose connections a cutter gets at.
func newCutStore(t *testing.T, c *cutter, mode, commit string) (s, cut *Store) {
	t.Helper()
	s = newStore(t, newPool(t, server.URL()))
	execSQL(t, s, `CREATE FUNCTION @schema@.wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(`+commit+`); RETURN NULL; END'`)
	execSQL(t, s, `CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON @schema@.objects DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW WHEN (NEW.name = 'thing') EXECUTE FUNCTION @schema@.wait()`)
	pool := newPool(t, server.URL()+"&default_query_exec_mode="+mode, c.intoPool, ofTwo)
	return s, openStore(t, Config{Pool: pool, Schema: s.schema})
}

// TestLostAnswer ends the connection in the midst of a commit, and after it: the call
// finds out that its change was made.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	for name, when := range map[string]moment{"sent": sent, "answered": answered} {
		for _, put := range lostPuts {
			t.Run(put.what+" "+name, func(t *testing.T) {
				t.Parallel()
				c := &cutter{text: put.text, when: when}
				s, cut := newCutStore(t, c, put.mode, "0.2")
				src := mustPut(t, s, "src", 2000)
				v, err := put.do(t, cut, src)
				if err != nil {
					t.Fatal(err)
				}
				if n := c.cuts.Load(); n != 1 {
					t.Fatalf("%d connections were cut", n)
				}
				wantObject(t, s, "thing", v, put.size)
				wantNoResidue(t, s)
			})
		}
	}
}

// TestLostRequest ends the connection before the server hears of the change. That
// looks the same from here. All wait at the same time.
func TestLostRequest(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for _, put := range lostPuts {
		c := &cutter{text: put.text, when: unsent}
		s, cut := newCutStore(t, c, put.mode, "0")
		src := mustPut(t, s, "src", 2000)
		wg.Go(func() {
			start := time.Now()
			_, err := put.do(t, cut, src)
			if !errors.Is(err, atrest.ErrUnavailable) || !strings.Contains(err.Error(), "may have been made") {
				t.Errorf("%s: %v, want ErrUnavailable that leaves it open", put.what, err)
			}
			if took := time.Since(start); c.cuts.Load() != 1 || took < settleTime/2 {
				t.Errorf("%s: it took %v, with %d connections cut", put.what, took, c.cuts.Load())
			}
		})
		defer func() {
			if names := readList(t, s); len(names) != 1 {
				t.Errorf("%s: there are %q", put.what, names)
			}
			wantNoResidue(t, s)
		}()
	}
	wg.Wait()
}

// TestLostQuietly has a put made by a server of which nothing is heard any more, and then its
// context end: what the caller is told leaves it open, however many share the statement.
func TestLostQuietly(t *testing.T) {
	t.Parallel()
	for _, names := range [][]string{{"thing"}, {"thing", "b", "c", "d"}} {
		t.Run(fmt.Sprint(len(names)), func(t *testing.T) {
			t.Parallel()
			c := &cutter{text: "thing", when: silent}
			s := newStore(t, newPool(t, server.URL()))
			cut := elsewhere(s, newPool(t, server.URL(), c.intoPool))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			errs := make([]error, len(names))
			put := func(i int) {
				_, errs[i] = cut.Put(ctx, names[i], nil, strings.NewReader("body"), backend.Condition{})
			}
			var done func()
			if len(names) == 1 {
				var wg sync.WaitGroup
				wg.Go(func() { put(0) })
				done = wg.Wait
			} else {
				_, errs, done = together(t, cut, backend.Condition{}, names, func(int) context.Context { return ctx })
			}
			eventually(t, "the put is made", func() bool { return len(readList(t, s)) == len(names) })
			start := time.Now()
			cancel()
			done()
			for i, err := range errs {
				if !errors.Is(err, context.Canceled) || !errors.Is(err, atrest.ErrUnavailable) || !strings.Contains(err.Error(), "may have been made") {
					t.Errorf("put %d: %v, want an error that leaves it open", i, err)
				}
			}
			if took := time.Since(start); took > groupLinger+time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestLostDelete has a change that can't be told from that of others.
func TestLostDelete(t *testing.T) {
	t.Parallel()
	c := &cutter{text: "DELETE FROM", when: answered}
	s, cut := newCutStore(t, c, "exec", "0")
	mustPut(t, s, "src", 10)
	err := cut.Delete(t.Context(), "src", backend.Condition{})
	if !errors.Is(err, atrest.ErrUnavailable) || !strings.Contains(err.Error(), "may have been made") || c.cuts.Load() != 1 {
		t.Errorf("%v, want ErrUnavailable that leaves it open", err)
	}
	if names := readList(t, s); len(names) != 0 {
		t.Errorf("there are %q", names)
	}
}

// TestLostServer has the server gone for good when the answer is lost: the first look that
// finds nobody there is the last.
func TestLostServer(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	c := &cutter{text: "thing", when: unsent}
	var refused atomic.Int32
	pool := newPool(t, server.URL()+"&default_query_exec_mode=exec", ofTwo, func(cfg *pgxpool.Config) {
		dial := cfg.ConnConfig.DialFunc
		cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if c.cuts.Load() > 0 {
				refused.Add(1)
				addr = closed.Addr().String()
			}
			return dial(ctx, network, addr)
		}
	}, c.intoPool)
	cut := openStore(t, Config{Pool: pool, Schema: s.schema})
	start := time.Now()
	_, err = cut.Put(t.Context(), "thing", nil, strings.NewReader("body"), backend.Condition{})
	if !errors.Is(err, atrest.ErrUnavailable) || !strings.Contains(err.Error(), "may have been made") {
		t.Errorf("%v, want ErrUnavailable that leaves it open", err)
	}
	if took := time.Since(start); c.cuts.Load() != 1 || refused.Load() == 0 || refused.Load() > 2 || took > settleTime {
		t.Errorf("it took %v, with %d connections cut and %d refused", took, c.cuts.Load(), refused.Load())
	}
}
