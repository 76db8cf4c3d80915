package storage_test

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/postgres"
	"github.com/atrest/atrest/backend/s3"
	"github.com/atrest/atrest/internal/devpostgres"
	"github.com/atrest/atrest/internal/devs3"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A shared server is started by the first test that needs it and stopped after
// the last.
type shared[T interface{ Stop() error }] struct {
	start func(ctx context.Context) (T, error)

	once   sync.Once
	server T
	err    error
}

func (s *shared[T]) get(t testing.TB) T {
	t.Helper()
	// Not the test's context, which ends with the test.
	s.once.Do(func() { s.server, s.err = s.start(context.Background()) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.server
}

// stop stops the server if it was started. No other start can succeed then.
func (s *shared[T]) stop() error {
	started := true
	s.once.Do(func() { started = false })
	if !started || s.err != nil {
		return nil
	}
	return s.server.Stop()
}

// database is the PostgreSQL of all tests that do not break theirs.
var database = shared[*devpostgres.Server]{start: func(ctx context.Context) (*devpostgres.Server, error) {
	return devpostgres.Start(ctx, devpostgres.Options{})
}}

// A bucketServer is an S3 server with the bucket of all tests.
type bucketServer struct {
	*devs3.Server
	bucket string
}

// objectStores are the S3 servers of all tests that do not break theirs.
var objectStores = func() map[devs3.Kind]*shared[*bucketServer] {
	all := map[devs3.Kind]*shared[*bucketServer]{}
	for _, kind := range devs3.Kinds() {
		all[kind] = &shared[*bucketServer]{start: func(ctx context.Context) (*bucketServer, error) {
			server, err := devs3.Start(ctx, devs3.Options{Kind: kind})
			if err != nil {
				return nil, err
			}
			bucket, err := server.NewBucket(ctx)
			if err != nil {
				return nil, errors.Join(err, server.Stop())
			}
			return &bucketServer{server, bucket}, nil
		}}
	}
	return all
}()

func stopServers() error {
	err := database.stop()
	for _, server := range objectStores {
		err = errors.Join(err, server.stop())
	}
	return err
}

// newPool returns a pool of the test's own on the shared database.
func newPool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.MaxConns = 4 // times the stores of all tests that run at the same time
	// The pool goes on connecting after whoever asked for it has given up.
	cfg.ConnConfig.ConnectTimeout = 3 * time.Second
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// newPostgres returns a store in a schema of its own, which goes with the test.
func newPostgres(t testing.TB) backend.Blobs {
	t.Helper()
	pool := newPool(t, database.get(t).URL())
	schema := newSchema(t, pool)
	return openPostgres(t, pool, schema)
}

func newSchema(t testing.TB, pool *pgxpool.Pool) string {
	schema := "test_" + strings.ToLower(rand.Text()[:12])
	t.Cleanup(func() {
		if _, err := pool.Exec(context.Background(), "DROP SCHEMA IF EXISTS "+schema+" CASCADE"); err != nil {
			t.Error(err)
		}
	})
	return schema
}

func openPostgres(t testing.TB, pool *pgxpool.Pool, schema string) *postgres.Store {
	t.Helper()
	blobs, err := postgres.New(t.Context(), postgres.Config{Pool: pool, Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	return blobs
}

// newS3 returns a store under a prefix of its own. MinIO of 2021 keeps no
// conditions, so there the store is told that it writes alone, which it does.
func newS3(t testing.TB, kind devs3.Kind) backend.Blobs {
	t.Helper()
	server := objectStores[kind].get(t)
	blobs, err := s3.New(t.Context(), s3.Config{
		Client: server.Client(), Bucket: server.bucket, Prefix: "test-" + strings.ToLower(rand.Text()[:12]) + "/",
		SoleWriter: kind == devs3.MinIO,
	})
	if err != nil {
		t.Fatal(err)
	}
	return blobs
}

// deletesOnCondition tells whether a backend does. VersityGW compares and deletes
// without a lock, so there it is refused; every other engine of the tests must.
func deletesOnCondition(t testing.TB, blobs backend.Blobs) bool {
	t.Helper()
	err := blobs.Delete(t.Context(), "there is no such object", backend.Condition{IfVersion: "none"})
	if errors.Is(err, atrest.ErrUnsupported) && strings.Contains(t.Name(), string(devs3.VersityGW)) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}
