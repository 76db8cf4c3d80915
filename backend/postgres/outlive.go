package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/atrest/atrest"
	"github.com/jackc/pgx/v5"
)

// cancelTime is how long after the end of its context a change may still be in
// doubt. The server answers at once as a rule; a network that is gone never does.
const cancelTime = 2 * time.Second

// change has a change made that is a single statement, or a COMMIT, so that the end of ctx
// does not leave it open whether it was: see outlive.
//
// The cancellation may have ended the server's wait for a synchronous standby. The change
// is committed then, though not there, and the answer is that of a success, but for a
// warning that only the owner of the pool can have shown to him. So the standby is
// waited for once more, for the rest of cancelTime.
func change(ctx context.Context, conn *pgx.Conn, send func(context.Context) error) error {
	longer, cancelled, done := outliving(ctx, conn)
	defer done()
	if err := send(longer); err != nil {
		if errors.Is(err, context.Canceled) && longer.Err() != nil {
			return &lostAnswer{err.Error()} // nobody has answered, not even to the cancellation
		}
		return orLost(err)
	}
	if !cancelled() {
		return nil
	}
	err := awaitStandby(longer, conn)
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w; the change was committed, but a synchronous standby may not have it, so that it may be lost with the server: %s",
		atrest.ErrUnavailable, ctx.Err(), err)
}

// standbySQL writes a message to the log of the server, which means nothing, for the
// commit to come to have something that a standby must confirm, and with it all that was
// committed before. Some changes are made so that they wait for the standby whatever is set
// for the session (see the package's records), so this is too.
const standbySQL = `SELECT pg_logical_emit_message(true, 'atrest', ''), set_config('synchronous_commit',
    CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)`

// awaitStandby returns nil once a synchronous standby, if the server has one, has
// all that was committed so far.
func awaitStandby(ctx context.Context, conn *pgx.Conn) error {
	err := execScript(ctx, conn, standbySQL)
	if isCode(err, codeCanceled) { // by a request that a pooler has passed on late
		err = execScript(ctx, conn, standbySQL)
	}
	if err == nil {
		err = ctx.Err() // the wait may have been cancelled again
	}
	return err
}

// outlive returns a context for a statement that the end of ctx must not leave open.
// pgx by itself closes the connection then, and the server carries on until it notices.
// Instead the server is asked to cancel the statement, and its answer is waited for: either
// it did, or the statement was carried out before.
//
// done must be called when the statement is over. A connection for which a cancellation was
// asked is closed by it, because that may arrive late, when somebody else has the connection.
func outlive(ctx context.Context, conn *pgx.Conn) (longer context.Context, done func()) {
	longer, _, done = outliving(ctx, conn)
	return longer, done
}

// outliving is outlive that also tells, once the statement is over and before done is
// called, whether a cancellation was asked for.
func outliving(ctx context.Context, conn *pgx.Conn) (longer context.Context, cancelled func() bool, done func()) {
	longer, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	asked := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(asked)
		time.AfterFunc(cancelTime, giveUp) // which does nothing once done was called
		// If this fails, the statement goes on, to its end or until giveUp is called.
		_ = conn.PgConn().CancelRequest(longer)
	})
	cancelled = sync.OnceValue(func() bool {
		if stop() {
			return false
		}
		<-asked
		return true
	})
	return longer, cancelled, func() {
		defer giveUp()
		if cancelled() {
			_ = conn.Close(longer) // the pool makes another
		}
	}
}
