package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/atrest/atrest/backend/postgres"
	"github.com/atrest/atrest/internal/devpostgres"
	"github.com/atrest/atrest/storage"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// statements counts what is sent to PostgreSQL.
type statements struct{ n atomic.Int64 }

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	s.n.Add(1)
	return ctx
}

func (s *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// count returns how many there were since it was last called.
func (s *statements) count() int64 { return s.n.Swap(0) }

// newCountedPostgres returns a backend on a server of its own.
func newCountedPostgres(t *testing.T) (*postgres.Store, *statements) {
	t.Helper()
	server := devpostgres.StartForTest(t)
	cfg, err := pgxpool.ParseConfig(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	var sent statements
	cfg.MaxConns, cfg.ConnConfig.Tracer = 32, &sent
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	blobs, err := postgres.New(t.Context(), postgres.Config{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	return blobs, &sent
}

// TestStatements counts the round trips to PostgreSQL, and to Vault beside them: one of each for
// a lone call, few for many at once.
func TestStatements(t *testing.T) {
	const objects = 2000
	blobs, sent := newCountedPostgres(t)
	keys, _, wire := newKeys(t)
	store := newStore(t, blobs, keys)
	kept, err := storage.New(storage.Config{ID: "bench", Backend: blobs, Keys: keys, KeyCache: storage.KeyCache{Keys: 2 * objects}})
	if err != nil {
		t.Fatal(err)
	}
	defer kept.ForgetKeys()
	ctx := t.Context()
	many := func(op func(ctx context.Context, i int64) error) func() error {
		return func() error { return together(ctx, callers, objects, op) }
	}
	get := func(s *storage.Store) func(context.Context, int64) error {
		return func(ctx context.Context, i int64) error { _, _, err := s.GetBytes(ctx, secretName(i)); return err }
	}
	for _, call := range []struct {
		name              string
		statements, vault int64 // at most
		run               func() error
	}{
		{"a put", 1, 1, func() error { return putBytes(ctx, store, "lone", noise(secretSize)) }},
		{"a get", 1, 1, func() error { _, _, err := store.GetBytes(ctx, "lone"); return err }},
		{"a stat", 1, 1, func() error { _, err := store.Stat(ctx, "lone"); return err }},
		{"a delete", 1, 0, func() error { return store.Delete(ctx, "lone", nil) }},
		{"puts by 64", objects / 3, objects / 3, many(func(ctx context.Context, i int64) error {
			return putBytes(ctx, store, secretName(i), noise(secretSize))
		})},
		{"gets by 64", objects / 3, objects / 3, many(get(store))},
		{"gets by 64 whose keys are not at hand", objects / 3, objects / 3, many(get(kept))},
		{"gets by 64 whose keys are at hand", objects / 3, 0, many(get(kept))},
		{"PutMany", objects / 40, objects / 40, func() error {
			for _, err := range store.PutMany(ctx, func(yield func(storage.Secret, error) bool) {
				for i := range objects {
					if !yield(storage.Secret{Name: fmt.Sprint("import/", i), Content: noise(secretSize)}, nil) {
						return
					}
				}
			}, &storage.ManyOptions{Concurrency: 512}) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"rewrap", objects / 50, objects / 50, func() error {
			if err := keys.Rotate(ctx); err != nil {
				return err
			}
			p, err := store.Rewrap(ctx, nil)
			if err == nil && p.Rewrapped != 2*objects {
				err = fmt.Errorf("%d rewrapped", p.Rewrapped)
			}
			return err
		}},
	} {
		sent.count()
		wire.count()
		if err := call.run(); err != nil {
			t.Fatalf("%s: %v", call.name, err)
		}
		statements, vault := sent.count(), wire.count()
		t.Logf("%s: %d statements, %d requests to Vault", call.name, statements, vault)
		if statements > call.statements || vault > call.vault {
			t.Errorf("%s: %d statements, %d requests to Vault, want at most %d and %d", call.name, statements, vault, call.statements, call.vault)
		}
		if strings.HasPrefix(call.name, "a ") && statements == 0 {
			t.Errorf("%s: not counted", call.name)
		}
	}
}
