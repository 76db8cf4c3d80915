package postgres

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// A lostAnswer means that a change, or the COMMIT of one, was sent and the
// connection ended before the answer. It wraps nothing: its cause may be an io.EOF,
// which to a reader is no error at all.
type lostAnswer struct{ cause string }

func (e *lostAnswer) Error() string {
	return "the server's answer was lost, so that the change may have been made or not: " + e.cause
}

// orLost makes a lostAnswer of what goes wrong with the connection once a change may
// have been sent. (pgconn.SafeToRetry is of no use then: after an answer that could not
// be read, pgconn may report what comes next, that the connection is closed.) What
// the server says before it ends the connection is no answer either: a backend that is
// told to end while it waits for a standby has committed.
func orLost(err error) error {
	open := isConnectionError(err)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		open = strings.HasPrefix(pgErr.Code, "57P") || strings.HasPrefix(pgErr.Code, "08")
	}
	if !open {
		return err
	}
	return &lostAnswer{err.Error()}
}

// settleTime bounds the search for a change whose answer was lost. The backend that
// was told of it may be at work still, and does not notice before its end
// that nobody waits for the answer.
const settleTime = 2 * time.Second

// settle looks, on other connections, for the object that a put or a copy was to
// make. Its version was made for this one change, so whoever finds it knows that the
// change was made, and the call is a success after all. Not to find it proves
// nothing: the change may come yet, or may have been replaced at once.
// Then, and for any other error, settle returns err. Where no server listens any more, it
// does so at once.
func (s *Store) settle(ctx context.Context, escaped string, id contentID, err error) error {
	if _, lost := errors.AsType[*lostAnswer](err); !lost {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for pause := 10 * time.Millisecond; ; pause *= 2 {
		found, lookErr := s.findCommitted(limited, escaped, id)
		if lookErr == nil && found {
			return nil
		}
		if !isDialError(lookErr) && wait(limited, pause) == nil {
			continue
		}
		if ctx.Err() != nil {
			return describe(ctx, err)
		}
		return err
	}
}

// findCommitted looks for an object of that version. A backend that is told to end while it
// waits for a standby leaves its change for everybody to see, though the standby may never
// get it. So what is found counts only once a commit after it was confirmed.
// Both are done in one transaction, to be sure that it is on one server.
func (s *Store) findCommitted(ctx context.Context, escaped string, id contentID) (bool, error) {
	conn, err := s.acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	if err := begin(ctx, conn.Conn()); err != nil {
		return false, err
	}
	var current contentID
	_, err = s.query(ctx, conn.Conn(), s.sql.current, into(&current), escaped)
	if err != nil || current != id {
		rollback(conn.Conn())
		return false, err
	}
	if err := execScript(ctx, conn.Conn(), standbySQL+"; COMMIT"); err != nil {
		rollback(conn.Conn())
		return false, err
	}
	return true, ctx.Err() // the wait may have been cancelled
}

// isDialError reports whether there was nobody to connect to.
func isDialError(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}
