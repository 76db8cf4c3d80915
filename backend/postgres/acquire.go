package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atrest/atrest"
	"github.com/jackc/pgx/v5/pgxpool"
)

// standstill is how long nobody may get a connection of the pool before those who
// wait give up. It is long enough for connections that are merely busy.
const standstill = time.Minute

// errStandstill is the cause of a wait that was given up.
var errStandstill = errors.New("nobody got a connection")

// acquire takes a connection of the pool. A wait ends with ErrUnavailable once the
// pool has handed out none, to anyone, for the time of s.standstill: large puts of
// several stores may then have all of them, and wait for bodies that wait for a
// connection. That is the end of one such body, and of its put. A queue that
// moves may be as long as it likes, and keeps its order.
func (s *Store) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	waiting, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	w := &watch{waiting: waiting, giveUp: giveUp, pool: s.pool, standstill: s.standstill}
	w.timer = time.AfterFunc(time.Hour, w.look)
	w.timer.Reset(w.every()) // not before look can see the timer
	defer w.timer.Stop()
	conn, err := s.pool.Acquire(waiting)
	if err != nil && context.Cause(waiting) == errStandstill {
		return nil, fmt.Errorf("%w: for %v nobody got any of the pool's %d connections: something keeps them all, as the large puts of several stores can that share a pool; give each store a pool of its own, or raise pool_max_conns",
			atrest.ErrUnavailable, s.standstill, s.pool.Config().MaxConns)
	}
	return conn, err
}

// A watch looks at a pool from time to time while one caller waits for a connection.
type watch struct {
	waiting    context.Context
	giveUp     context.CancelCauseFunc
	pool       *pgxpool.Pool
	standstill time.Duration

	timer *time.Timer
	count int64     // of connections that were handed out until the last look
	since time.Time // of the first look that saw it so, with all connections taken
}

// every is the time between two looks, by which a wait may outlast a standstill.
func (w *watch) every() time.Duration { return w.standstill / 4 }

// look ends the wait if all connections are taken, and were so at each look for the
// time of a standstill, with none handed out in between. Where the pool is still making
// one, how long that may take is for its settings to say.
func (w *watch) look() {
	if w.waiting.Err() != nil {
		return // it was over while this began
	}
	stat := w.pool.Stat()
	if stat.AcquiredConns() < stat.MaxConns() || stat.AcquireCount() != w.count {
		w.count, w.since = stat.AcquireCount(), time.Now()
	}
	if time.Since(w.since) >= w.standstill {
		w.giveUp(errStandstill)
		return
	}
	w.timer.Reset(w.every())
}
