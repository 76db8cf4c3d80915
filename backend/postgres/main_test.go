package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/atrest/atrest/internal/devpostgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"
)

// server is what all tests share that do no harm to it.
var server *devpostgres.Server

func TestMain(m *testing.M) {
	if runChild() {
		return
	}
	goleak.VerifyTestMain(withServer{m})
}

// withServer runs the tests while a server runs.
type withServer struct{ m *testing.M }

func (w withServer) Run() int {
	// More than the usual 100 connections, for the tests that run in parallel on many cores.
	s, err := devpostgres.Start(context.Background(), devpostgres.Options{Settings: map[string]string{"max_connections": "300"}})
	if errors.Is(err, errors.ErrUnsupported) { // a server that is not ours
		s, err = devpostgres.Start(context.Background(), devpostgres.Options{})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err, "\nThe tests run against a real PostgreSQL: run `make tools` once to install it.")
		return 1
	}
	server = s
	code := w.m.Run()
	if err := s.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// newPool returns a pool of 8 connections, after change has had its way.
func newPool(t testing.TB, url string, change ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.MaxConns = 8
	for _, f := range change {
		f(cfg)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// newStore opens a store in a schema of its own, which is dropped with the test.
func newStore(t testing.TB, pool *pgxpool.Pool) *Store {
	t.Helper()
	schema := newSchema(t, pool)
	return openStore(t, Config{Pool: pool, Schema: schema})
}

// newSchema returns a name that is not in use.
func newSchema(t testing.TB, pool *pgxpool.Pool) string {
	schema := "test_" + strings.ToLower(rand.Text()[:12])
	t.Cleanup(func() {
		if _, err := pool.Exec(context.Background(), "DROP SCHEMA IF EXISTS "+quote(schema)+" CASCADE", pgx.QueryExecModeExec); err != nil {
			t.Error(err)
		}
	})
	return schema
}

func openStore(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// execSQL runs statements behind the store's back.
func execSQL(t testing.TB, s *Store, sql string, args ...any) {
	t.Helper()
	args = append([]any{pgx.QueryExecModeExec}, args...)
	if _, err := s.pool.Exec(context.Background(), inSchema(s.schema, sql), args...); err != nil {
		t.Fatal(err)
	}
}
