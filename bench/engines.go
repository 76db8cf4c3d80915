package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/disk"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/backend/postgres"
	"github.com/atrest/atrest/backend/s3"
	"github.com/atrest/atrest/internal/devpostgres"
	"github.com/atrest/atrest/internal/devs3"
	"github.com/atrest/atrest/internal/devvault"
	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
)

const (
	// poolSize is how many connections to PostgreSQL ours and the others have:
	// one for each caller of the comparisons that have goals.
	poolSize = 64

	// manyCallers is the largest crowd. HTTP clients keep a connection for each.
	manyCallers = 256

	transitMount = "transit"
)

// engineNames are the backends that are compared.
var engineNames = []string{"memory", "disk", "postgres", "s3"}

// An env has the servers that the comparisons use, each started when it is first
// asked for, and all that belongs to them. It is used by one goroutine.
type env struct {
	settings settings
	dir      string // of everything on disk

	vaultServer    *devvault.Server
	postgresServer *devpostgres.Server
	s3Server       *devs3.Server

	clients    map[string]*api.Client // of Vault, by address
	wrapper    *transit.Wrapper
	sharedPool *pgxpool.Pool
	s3Client   *awss3.Client
	larges     map[string]*largeObjects
	stores     map[string]*grownStore

	closers []func() error
}

// newEnv starts nothing yet.
func newEnv(s settings) (*env, error) {
	dir, err := os.MkdirTemp(s.dir, "atrest-bench-")
	if err != nil {
		return nil, err
	}
	e := &env{
		settings: s, dir: dir, clients: make(map[string]*api.Client),
		larges: make(map[string]*largeObjects), stores: make(map[string]*grownStore),
	}
	e.onClose(func() error { return os.RemoveAll(dir) })
	return e, nil
}

// onClose has close called before those that are there already.
func (e *env) onClose(close func() error) { e.closers = append(e.closers, close) }

// close ends all servers and removes all that is on disk.
func (e *env) close() error {
	var errs []error
	for i := len(e.closers) - 1; i >= 0; i-- {
		errs = append(errs, e.closers[i]())
	}
	e.closers = nil
	return errors.Join(errs...)
}

// vault returns the Vault, with transit enabled. Its data are in memory.
func (e *env) vault(ctx context.Context) (*devvault.Server, error) {
	if e.vaultServer != nil {
		return e.vaultServer, nil
	}
	server, err := devvault.Shared(ctx)
	if err != nil {
		return nil, err
	}
	e.onClose(server.Stop)
	if err := server.EnableTransit(ctx, transitMount); err != nil {
		return nil, err
	}
	e.vaultServer = server
	return server, nil
}

// client returns the client of the Vault at address; empty: of its own. Ours and
// the others share it, and it keeps as many connections as there are callers.
func (e *env) client(ctx context.Context, address string) (*api.Client, error) {
	server, err := e.vault(ctx)
	if err != nil {
		return nil, err
	}
	if address == "" {
		address = server.Addr()
	}
	if client := e.clients[address]; client != nil {
		return client, nil
	}
	transport := &http.Transport{MaxIdleConnsPerHost: manyCallers}
	client, err := api.NewClient(&api.Config{Address: address, HttpClient: &http.Client{Transport: transport}})
	if err != nil {
		return nil, err
	}
	client.SetToken(server.RootToken())
	e.onClose(func() error { transport.CloseIdleConnections(); return nil })
	e.clients[address] = client
	return client, nil
}

// newWrapper returns a wrapper over a new transit key, by way of address.
func (e *env) newWrapper(ctx context.Context, address string) (*transit.Wrapper, error) {
	client, err := e.client(ctx, address)
	if err != nil {
		return nil, err
	}
	return transit.Open(ctx, transit.Config{Client: client, Mount: transitMount, Key: "bench-" + random(), CreateKey: true})
}

// keys returns the wrapper that all comparisons share that do not rotate.
func (e *env) keys(ctx context.Context) (*transit.Wrapper, error) {
	if e.wrapper != nil {
		return e.wrapper, nil
	}
	keys, err := e.newWrapper(ctx, "")
	if err == nil {
		e.wrapper = keys
	}
	return keys, err
}

// postgres returns the PostgreSQL, as durable as it is by default.
func (e *env) postgres(ctx context.Context) (*devpostgres.Server, error) {
	if e.postgresServer != nil {
		return e.postgresServer, nil
	}
	o := devpostgres.Options{Settings: map[string]string{"max_connections": "200"}}
	if os.Getenv("ATREST_TEST_POSTGRES_URL") != "" {
		o = devpostgres.Options{} // It is what it is.
	}
	if e.settings.dir != "" {
		o.Dir = e.dir
	}
	server, err := devpostgres.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	e.onClose(server.Stop)
	e.postgresServer = server
	return server, nil
}

// newPool returns a pool of poolSize connections, by way of host; empty: directly.
func (e *env) newPool(ctx context.Context, host string) (*pgxpool.Pool, error) {
	server, err := e.postgres(ctx)
	if err != nil {
		return nil, err
	}
	address := server.URL()
	if host != "" {
		address = strings.Replace(address, server.Host(), host, 1)
	}
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, err
	}
	config.MaxConns = poolSize
	return pgxpool.NewWithConfig(ctx, config)
}

// pool returns the pool that ours and the others share, who run in turns.
func (e *env) pool(ctx context.Context) (*pgxpool.Pool, error) {
	if e.sharedPool != nil {
		return e.sharedPool, nil
	}
	pool, err := e.newPool(ctx, "")
	if err != nil {
		return nil, err
	}
	e.onClose(func() error { pool.Close(); return nil })
	e.sharedPool = pool
	return pool, nil
}

// s3 returns the S3 server.
func (e *env) s3(ctx context.Context) (*devs3.Server, error) {
	if e.s3Server != nil {
		return e.s3Server, nil
	}
	o := devs3.Options{Kind: devs3.Kind(e.settings.s3)}
	if o.Kind != devs3.External {
		o.Dir = filepath.Join(e.dir, "s3")
	}
	server, err := devs3.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	e.onClose(server.Stop)
	e.s3Server = server
	return server, nil
}

// bucket returns an empty bucket, and the client that all share. It keeps as many
// connections as there are callers.
func (e *env) bucket(ctx context.Context) (*awss3.Client, string, error) {
	server, err := e.s3(ctx)
	if err != nil {
		return nil, "", err
	}
	if e.s3Client == nil {
		options := server.Client().Options()
		transport := &http.Transport{MaxIdleConnsPerHost: manyCallers}
		options.HTTPClient = &http.Client{Transport: transport}
		e.onClose(func() error { transport.CloseIdleConnections(); return nil })
		e.s3Client = awss3.New(options)
	}
	bucket, err := server.NewBucket(ctx)
	return e.s3Client, bucket, err
}

// A place is somewhere to put ciphertext, empty at first.
type place struct {
	blobs  backend.Blobs
	schema string       // of PostgreSQL
	close  func() error // removes what is there, where it would be in the way
	// bare returns a place to put bytes without us, of the same engine.
	bare func(ctx context.Context) (bare, error)
}

// open returns a new place of an engine.
func (e *env) open(ctx context.Context, engine string) (*place, error) {
	switch engine {
	case "memory":
		return &place{
			blobs: memory.New(),
			close: func() error { return nil },
			bare:  func(context.Context) (bare, error) { return newBareMemory(), nil },
		}, nil
	case "disk":
		return e.openDisk(ctx)
	case "postgres":
		return e.openPostgres(ctx)
	case "s3":
		return e.openS3(ctx)
	}
	return nil, fmt.Errorf("no engine is called %q", engine)
}

func (e *env) openDisk(ctx context.Context) (*place, error) {
	dir, err := os.MkdirTemp(e.dir, "disk-")
	if err != nil {
		return nil, err
	}
	blobs, err := disk.New(ctx, disk.Config{Dir: filepath.Join(dir, "store")})
	if err != nil {
		return nil, err
	}
	return &place{
		blobs: blobs,
		close: func() error { return errors.Join(blobs.Close(), os.RemoveAll(dir)) },
		bare:  func(context.Context) (bare, error) { return newBareDisk(dir) },
	}, nil
}

func (e *env) openPostgres(ctx context.Context) (*place, error) {
	pool, err := e.pool(ctx)
	if err != nil {
		return nil, err
	}
	schema := "bench_" + random()
	blobs, err := postgres.New(ctx, postgres.Config{Pool: pool, Schema: schema})
	if err != nil {
		return nil, err
	}
	return &place{
		blobs:  blobs,
		schema: schema,
		close: func() error {
			_, err := pool.Exec(context.Background(), "DROP SCHEMA "+schema+" CASCADE")
			return err
		},
		bare: func(ctx context.Context) (bare, error) { return newBarePostgres(ctx, pool, schema) },
	}, nil
}

func (e *env) openS3(ctx context.Context) (*place, error) {
	client, bucket, err := e.bucket(ctx)
	if err != nil {
		return nil, err
	}
	blobs, err := s3.New(ctx, s3.Config{Client: client, Bucket: bucket, Prefix: "ours-" + random() + "/"})
	if err != nil {
		return nil, err
	}
	return &place{
		blobs: blobs,
		close: func() error { return nil }, // All goes with the server.
		bare:  func(context.Context) (bare, error) { return &bareS3{client, bucket, random() + "/"}, nil },
	}, nil
}

// newStore returns a store over blobs whose keys the shared wrapper wraps.
func (e *env) newStore(ctx context.Context, blobs backend.Blobs) (*storage.Store, error) {
	return e.newStoreWith(ctx, blobs, storage.KeyCache{})
}

// newCachedStore is newStore with room for all data keys that are compared.
func (e *env) newCachedStore(ctx context.Context, blobs backend.Blobs) (*storage.Store, error) {
	return e.newStoreWith(ctx, blobs, storage.KeyCache{Keys: 1 << 16, MaxAge: time.Hour})
}

func (e *env) newStoreWith(ctx context.Context, blobs backend.Blobs, cache storage.KeyCache) (*storage.Store, error) {
	keys, err := e.keys(ctx)
	if err != nil {
		return nil, err
	}
	return storage.New(storage.Config{ID: "bench", Backend: blobs, Keys: keys, KeyCache: cache})
}

// label is what an engine is, for people.
func (e *env) label(engine string) string {
	if engine == "s3" {
		return "S3 (" + e.settings.s3 + ")"
	}
	return engine
}

// random is part of a name that nobody else has.
func random() string { return strings.ToLower(rand.Text()) }
