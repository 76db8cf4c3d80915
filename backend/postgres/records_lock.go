package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// pingEvery and pingTime are how often the connection of a lock is tried, and how long the
	// answer may take. Most losses are noticed without: the server says so, or the
	// connection ends.
	pingEvery = 5 * time.Second
	pingTime  = 10 * time.Second
)

// lockSettings are what a lock's transaction needs of the server, whatever the session's
// own settings: it may wait and idle for as long as it likes. A machine that is gone, with
// its lock, is noticed after a minute (keepalives are the kernel's, so that a process which
// is merely stopped keeps its lock), which is longer than it takes to be noticed here.
// Not every server has all of these.
const lockSettings = `
SELECT set_config(s.name, v.value, true) FROM pg_catalog.pg_settings s JOIN (VALUES
    ('idle_in_transaction_session_timeout', '0'), ('lock_timeout', '0'), ('statement_timeout', '0'), ('transaction_timeout', '0'),
    ('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3')
) v (name, value) ON v.name = s.name`

// LockRecords implements [backend.Records] by an advisory lock of a transaction, which has
// a connection of its own until unlock is called. When that connection is lost, so is the
// lock: the context then ends, at once as a rule, within 15 seconds where the network
// drops everything, with a cause that is ErrUnavailable. Locks are of one
// database and schema. A standby has none to give: there, LockRecords fails.
//
// Two who wait for a lock that the other has get an error, from the server, one of them.
func (r *Records) LockRecords(ctx context.Context, name string) (_ context.Context, unlock func(), err error) {
	defer annotate(&err, "lock", name)
	if err := checkRecordCall(ctx, backend.CheckRecordName(name)); err != nil {
		return nil, nil, err
	}
	select {
	case r.locks <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	conn, err := r.takeLock(ctx, name)
	if err != nil {
		<-r.locks
		return nil, nil, describe(ctx, err)
	}
	held, end := context.WithCancelCause(ctx)
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	released := make(chan struct{})
	go func() {
		defer close(released)
		defer func() { <-r.locks }()
		err := r.keepLock(watching, conn)
		end(err) // before the rest, if it was lost
		rollback(conn.Conn())
		conn.Release()
	}()
	return held, sync.OnceFunc(func() {
		end(nil)
		stop()
		<-released
	}), nil
}

// takeLock returns a connection whose transaction has the lock. The server is asked to
// cancel the wait when ctx ends.
func (r *Records) takeLock(ctx context.Context, name string) (*pgxpool.Conn, error) {
	conn, err := r.store.acquire(ctx)
	if err != nil {
		return nil, err
	}
	longer, done := outlive(ctx, conn.Conn())
	// A standby has advisory locks too, which no other server knows of. It has no
	// transaction that may write.
	err = execScript(longer, conn.Conn(), "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"+lockSettings)
	if err == nil {
		err = execScript(longer, conn.Conn(), fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", lockKey(r.store.schema, name)))
	}
	done()
	if err == nil {
		err = ctx.Err() // then the connection is closed
	}
	if err != nil {
		rollback(conn.Conn())
		conn.Release()
		return nil, err
	}
	return conn, nil
}

// keepLock returns nil when ctx ends, and before that an error if the lock is lost.
func (r *Records) keepLock(ctx context.Context, conn *pgxpool.Conn) error {
	for {
		err := listen(ctx, conn, r.pingEvery)
		if err == nil {
			err = ping(ctx, conn, r.pingTime)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: the connection that had the lock was lost: %s", atrest.ErrUnavailable, err)
		}
	}
}

// listen waits a while for the server to say something. What it has to say, notifications
// apart, is that the connection ends.
func listen(ctx context.Context, conn *pgxpool.Conn, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := conn.Conn().PgConn().WaitForNotification(ctx)
	if ctx.Err() != nil && !conn.Conn().IsClosed() {
		return nil
	}
	return err
}

// ping returns an error if the server does not answer in time.
func ping(ctx context.Context, conn *pgxpool.Conn, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return execScript(ctx, conn.Conn(), "SELECT 1")
}

// lockKey is the number by which the server knows the lock: 64 bits of a hash, so that no
// two names of any two schemas meet, nor one of them migrationLock.
func lockKey(schema, name string) int64 {
	sum := sha256.Sum256([]byte("atrest lock\x00" + schema + "\x00" + name))
	return int64(binary.BigEndian.Uint64(sum[:]))
}
