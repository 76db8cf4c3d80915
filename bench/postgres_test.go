package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atrest/atrest/backend/postgres"
	"github.com/atrest/atrest/internal/devpostgres"
)

// newPool starts a PostgreSQL of the benchmark's own.
func newPool(b *testing.B) *pgxpool.Pool {
	b.Helper()
	server, err := devpostgres.Start(b.Context(), devpostgres.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := server.Stop(); err != nil {
			b.Error(err)
		}
	})
	pool, err := pgxpool.New(b.Context(), server.URL())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	return pool
}

func postgresEngine(b *testing.B) engine {
	pool := newPool(b)
	blobs, err := postgres.New(b.Context(), postgres.Config{Pool: pool})
	if err != nil {
		b.Fatal(err)
	}
	keys, _, _ := newKeys(b)
	store := newStore(b, blobs, keys)
	// What chunks ours are, an object tells.
	if _, err := store.Put(b.Context(), "chunks", io.LimitReader(newGenerator(), 8<<20), nil); err != nil {
		b.Fatal(err)
	}
	var chunk int
	if err := pool.QueryRow(b.Context(), `SELECT max(length(data)) FROM atrest.chunks`).Scan(&chunk); err != nil {
		b.Fatal(err)
	}
	exec := func(sql string) error {
		_, err := pool.Exec(b.Context(), sql)
		return err
	}
	if err := exec(`CREATE TABLE plain (seq int PRIMARY KEY, data bytea NOT NULL);
		ALTER TABLE plain ALTER data SET STORAGE EXTERNAL`); err != nil {
		b.Fatal(err)
	}
	return engine{
		store: store,
		clear: func() error {
			return errors.Join(store.Delete(b.Context(), "large", nil), exec(`VACUUM atrest.chunks`), exec(`CHECKPOINT`))
		},
		clearPlain: func() error { return errors.Join(exec(`TRUNCATE plain`), exec(`CHECKPOINT`)) },
		put:        func(src io.Reader) error { return plainCopyIn(b.Context(), pool, src, chunk) },
		get:        func() error { return plainSelect(b.Context(), pool) },
	}
}

// plainCopyIn stores what src yields as rows of chunk bytes by COPY.
func plainCopyIn(ctx context.Context, pool *pgxpool.Pool, src io.Reader, chunk int) error {
	buf := make([]byte, chunk)
	seq := int32(-1)
	_, err := pool.CopyFrom(ctx, pgx.Identifier{"plain"}, []string{"seq", "data"}, pgx.CopyFromFunc(func() ([]any, error) {
		n, err := io.ReadFull(src, buf)
		if n == 0 {
			if err == io.EOF {
				err = nil
			}
			return nil, err
		}
		seq++
		return []any{seq, buf[:n]}, nil
	}))
	return err
}

func plainSelect(ctx context.Context, pool *pgxpool.Pool) error {
	rows, err := pool.Query(ctx, `SELECT data FROM plain ORDER BY seq`)
	if err != nil {
		return err
	}
	defer rows.Close()
	var total int
	for rows.Next() {
		total += len(rows.RawValues()[0])
	}
	if rows.Err() == nil && total != largeSize {
		return fmt.Errorf("%d bytes came back", total)
	}
	return rows.Err()
}
