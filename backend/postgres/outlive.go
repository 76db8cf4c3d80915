package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// cancelTime is how long after the end of its context a change may still be in
// doubt. The server answers at once as a rule; a network that is gone never does.
const cancelTime = 2 * time.Second

// outlive returns a context for a change that is a single statement, or a COMMIT, so
// that the end of ctx does not leave it open whether it was made. pgx by itself closes the
// connection then, and the server carries on until it notices. Instead the server is asked to cancel
// the statement, and its answer is waited for: either it did, or the change was made
// before.
//
// done must be called when the statement is over. A connection for which a cancellation was
// asked is closed by it, because that may arrive late, when somebody else has the connection.
func outlive(ctx context.Context, conn *pgx.Conn) (longer context.Context, done func()) {
	longer, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	asked := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(asked)
		time.AfterFunc(cancelTime, giveUp) // which does nothing once done was called
		// If this fails, the statement goes on, to its end or until giveUp is called.
		_ = conn.PgConn().CancelRequest(longer)
	})
	return longer, func() {
		defer giveUp()
		if stop() {
			return
		}
		<-asked
		_ = conn.Close(longer) // the pool makes another
	}
}
