package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// A sqlCounter counts the statements of a pool in pgx's default mode, and of these those that
// are shared, and those of one put or get each.
type sqlCounter struct{ all, shared, alone, gets atomic.Int64 }

func (c *sqlCounter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	c.all.Add(1)
	switch {
	case strings.Contains(q.SQL, "unnest"):
		c.shared.Add(1)
	case strings.Contains(q.SQL, "VALUES ($1"):
		c.alone.Add(1)
	case strings.Contains(q.SQL, "o.name = $1"):
		c.gets.Add(1)
	}
	return ctx
}

func (c *sqlCounter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (c *sqlCounter) intoPool(cfg *pgxpool.Config) { cfg.ConnConfig.Tracer = c }

// busy has puts under way that wait for a name until release is called, so that further
// ones, which have all the patience, gather until then.
func busy(t *testing.T, s *Store) (release func()) {
	t.Helper()
	tx, err := s.pool.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range []*putGroup{s.puts, s.putsIfAbsent} {
		g.Patience, g.Near, g.MaxYoung = time.Hour, 0, 1
	}
	var puts sync.WaitGroup
	release = sync.OnceFunc(func() {
		if err := tx.Rollback(context.Background()); err != nil {
			t.Error(err)
		}
		puts.Wait()
		if err := s.Delete(context.Background(), "held", backend.Condition{}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(release)
	if _, err := tx.Exec(t.Context(), inSchema(s.schema, `INSERT INTO @schema@.objects (name, version, size, header, body)
		VALUES ('held', gen_random_uuid(), 0, '', '')`), pgx.QueryExecModeExec); err != nil {
		t.Fatal(err)
	}
	for i, cond := range []backend.Condition{{}, {IfAbsent: true}} {
		puts.Go(func() {
			if _, err := s.Put(t.Context(), "held", nil, strings.NewReader("body"), cond); err != nil && !errors.Is(err, atrest.ErrExists) {
				t.Error(err)
			}
		})
		eventually(t, "a put waits for a lock", func() bool {
			var n int
			err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND strpos(query, $1) > 0`,
				pgx.QueryExecModeExec, s.schema).Scan(&n)
			return err == nil && n == i+1
		})
	}
	return release
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never:", what)
		}
	}
}

// together puts objects of these names, each of as many bytes as its place says, in one statement.
// The puts come to wait in that order. It returns what came of them once done does.
func together(t *testing.T, s *Store, cond backend.Condition, names []string, ctxOf func(i int) context.Context) (versions []backend.Version, errs []error, done func()) {
	t.Helper()
	release := busy(t, s)
	versions, errs = make([]backend.Version, len(names)), make([]error, len(names))
	var puts sync.WaitGroup
	for i, name := range names {
		puts.Go(func() {
			versions[i], errs[i] = s.Put(ctxOf(i), name, []byte("header"), bytes.NewReader(bodyOf(i)), cond)
		})
		eventually(t, "a put waits for others", func() bool { return s.groupOf(cond).Waiting() == i+1 })
	}
	release()
	return versions, errs, puts.Wait
}

func numbered(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("name-%03d", n-i))
	}
	return names
}

func without(t *testing.T) func(int) context.Context {
	return func(int) context.Context { return t.Context() }
}

// slow has rows of a name take some time, in seconds, and fail then if SQL says so.
func slow(t *testing.T, s *Store, like, seconds, then string) {
	t.Helper()
	execSQL(t, s, `CREATE FUNCTION @schema@.slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(`+seconds+`); `+then+` RETURN NEW; END'`)
	execSQL(t, s, `CREATE TRIGGER slow BEFORE INSERT ON @schema@.objects FOR EACH ROW WHEN (NEW.name LIKE '`+like+`') EXECUTE FUNCTION @schema@.slow()`)
}

// waitsFor is when a statement sleeps.
func waitsFor(t *testing.T, s *Store) (pid int) {
	t.Helper()
	eventually(t, "a statement sleeps", func() bool {
		err := s.pool.QueryRow(t.Context(), `SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND strpos(query, $1) > 0`,
			pgx.QueryExecModeExec, s.schema).Scan(&pid)
		return err == nil
	})
	return pid
}
