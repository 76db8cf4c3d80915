package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A Config says where the store is.
type Config struct {
	// Pool has the connections to use. It stays the caller's, who closes it after
	// the last call and after the last body is closed, and may use it for other
	// things too. It must allow two connections at least. Its settings are
	// honoured; for a pooler in transaction mode such as PgBouncer that is
	// default_query_exec_mode=exec.
	//
	// Large puts keep up to half of the connections, for as long as their bodies
	// take. Stores that share a pool do so each, and two of them could keep all: give
	// every Store that takes large bodies a pool of its own. Where all connections
	// are kept for a minute, a call that waits for one fails with ErrUnavailable.
	Pool *pgxpool.Pool

	// Schema is where the tables are; empty means "atrest". It is a letter or
	// underscore, then letters, digits, underscores and hyphens, at most 63
	// bytes, and case matters. Stores in different schemas share nothing.
	Schema string

	// SkipMigrations says that tables are not to be made or changed, only
	// checked, because an administrator has run what [Migrations] and [Grants]
	// return.
	SkipMigrations bool

	// PlaintextHosts are the hosts, beside this machine, to which the pool may
	// connect without TLS: names, or IP addresses, without ports.
	PlaintextHosts []string

	// Logger gets warnings about rows that are no objects. Nil discards them.
	Logger *slog.Logger
}

// A Store keeps objects in a PostgreSQL database. It is safe for concurrent use, by
// any number of goroutines and, each with a Store of its own, of processes. It holds
// nothing that needs to be closed.
type Store struct {
	pool   *pgxpool.Pool
	schema string
	mode   pgx.QueryExecMode
	sql    statements
	log    *slog.Logger

	// writers has room for as many large puts as may go on at once. Each keeps a
	// connection as long as its body takes, and that body may itself be waiting
	// for a connection, to be read from this very store.
	writers chan struct{}

	standstill time.Duration // see there

	rowBuffers, pageBuffers *sync.Pool // of *[]byte

	puts, putsIfAbsent *putGroup
	gets               *getGroup
}

var (
	_ backend.Blobs         = (*Store)(nil)
	_ backend.HeaderBatcher = (*Store)(nil)
)

// New opens the store in cfg.Schema, making or updating its tables if need be.
// Any number of processes may do so at once.
//
// It returns ErrPlaintextConnection for a pool that might connect without TLS to
// another machine, ErrSchemaVersion for tables that this program does not
// know or may not update, ErrStorageMissing for tables that are missing and may not be
// made, ErrPermission where the role lacks a right, and ErrUnavailable where the server can't
// be reached, or somebody keeps a table locked that has to be updated.
func New(ctx context.Context, cfg Config) (*Store, error) {
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("postgres: open: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Pool == nil {
		return nil, errors.New("Config.Pool is nil")
	}
	schema, err := schemaName(cfg.Schema)
	if err != nil {
		return nil, err
	}
	poolConfig := cfg.Pool.Config()
	if poolConfig.MaxConns < 2 {
		return nil, errors.New("the pool allows one connection only; a body that is put may need another to be read from: set pool_max_conns to 2 or more")
	}
	if err := checkEncrypted(poolConfig.ConnConfig, cfg.PlaintextHosts); err != nil {
		return nil, err
	}
	s := &Store{
		pool:        cfg.Pool,
		schema:      schema,
		mode:        poolConfig.ConnConfig.DefaultQueryExecMode,
		sql:         newStatements(schema),
		log:         cfg.Logger,
		writers:     make(chan struct{}, poolConfig.MaxConns/2),
		standstill:  standstill,
		rowBuffers:  bufferPool(copyRowHeader + chunkSize),
		pageBuffers: bufferPool(pageSize),
	}
	s.gather()
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, s.prepareSchema(ctx, cfg)
}

func bufferPool(size int) *sync.Pool {
	return &sync.Pool{New: func() any { b := make([]byte, size); return &b }}
}

// checkName returns the escaped form of a name.
func checkName(ctx context.Context, name string) (string, error) {
	escaped, err := backend.Escape(name)
	if err != nil {
		return "", err
	}
	return escaped, ctx.Err()
}

// checkChange is checkName, and refuses what the contract refuses of any change
// before it is tried.
func checkChange(ctx context.Context, name string, header []byte, cond backend.Condition) (string, error) {
	escaped, err := checkName(ctx, name)
	if err != nil {
		return "", err
	}
	if len(header) > backend.MaxHeader {
		return "", fmt.Errorf("%w: the header has %d bytes, the limit is %d", atrest.ErrTooLarge, len(header), backend.MaxHeader)
	}
	if cond.IfAbsent && cond.IfVersion != "" {
		return "", fmt.Errorf("%w: both IfAbsent and IfVersion", atrest.ErrUnsupported)
	}
	return escaped, nil
}

// notNull returns the header to store: to pgx a nil slice is NULL.
func notNull(header []byte) []byte {
	if header == nil {
		return []byte{}
	}
	return header
}
