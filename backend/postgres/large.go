package postgres

import (
	"context"
	"errors"
	"io"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// rowsAhead is how many chunks of a body may wait to be sent while the next is
// read. One would do if reading and sending took equally long each time.
const rowsAhead = 2

// putLarge stores a body whose beginning was read.
func (s *Store) putLarge(ctx context.Context, o object, begun []byte, body io.Reader, cond backend.Condition) error {
	select {
	case s.writers <- struct{}{}:
		defer func() { <-s.writers }()
	case <-ctx.Done():
		return ctx.Err()
	}
	conn, err := s.acquire(ctx)
	if err != nil {
		return describe(ctx, err)
	}
	defer conn.Release()
	if err := begin(ctx, conn.Conn()); err != nil {
		return describe(ctx, err)
	}
	// Also if the body panics. After a commit there is nothing to roll back.
	committed := false
	defer func() {
		if !committed {
			rollback(conn.Conn())
		}
	}()
	if err := s.checkEarly(ctx, conn.Conn(), o.name, cond); err != nil {
		return err
	}
	if o.size, err = s.copyIn(ctx, conn, o.id, begun, body); err != nil {
		return err
	}
	o.chunkSize = new(int32(chunkSize))
	affected, err := s.query(ctx, conn.Conn(), s.putStatement(cond), noRows, o.args(cond)...)
	if err != nil {
		return describe(ctx, err)
	}
	if err := conditionMet(affected, cond); err != nil {
		return err
	}
	if err := commit(ctx, conn.Conn()); err != nil {
		return describe(ctx, err)
	}
	committed = true
	return nil
}

// checkEarly looks whether cond has a chance, to save the sending of the body. What
// decides is the statement at the end.
func (s *Store) checkEarly(ctx context.Context, conn *pgx.Conn, name string, cond backend.Condition) error {
	if cond == (backend.Condition{}) {
		return nil
	}
	current, err := s.currentVersion(ctx, conn, name)
	switch {
	case err != nil:
		return describe(ctx, err)
	case cond.IfAbsent && current != "":
		return atrest.ErrExists
	case cond.IfVersion != "" && current != cond.IfVersion:
		return atrest.ErrConflict
	}
	return nil
}

// copyIn sends a body as chunks of a content version, and returns its size. The
// body is read here, on the caller's goroutine, where it may panic; another
// sends, so that both go on at the same time.
func (s *Store) copyIn(ctx context.Context, conn *pgxpool.Conn, id contentID, begun []byte, body io.Reader) (size int64, err error) {
	stream := newCopyStream(s.rowBuffers)
	var sendErr error
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, sendErr = conn.Conn().PgConn().CopyFrom(ctx, stream, s.sql.copyChunks)
		stream.stop() // nobody takes any more
	}()
	// Also if the body panics, nobody else may have the connection before the
	// sender has left it.
	defer func() {
		stream.stop()
		<-sent
	}()
	size, err = fillRows(ctx, stream, id, begun, body)
	if err == nil {
		stream.finish()
	}
	if err == nil || errors.Is(err, errStopped) {
		<-sent
		err = describe(ctx, sendErr)
	}
	if err == nil {
		stream.release()
	}
	return size, err
}

// fillRows reads the body to its end, chunk by chunk, and gives the rows to the stream.
// It returns errStopped if the stream takes no more.
func fillRows(ctx context.Context, stream *copyStream, id contentID, begun []byte, body io.Reader) (size int64, err error) {
	for seq := int32(0); ; seq++ {
		row, err := stream.next()
		if err != nil {
			return 0, err
		}
		n := copy(row.data(), begun)
		begun = nil
		m, err := fill(ctx, body, row.data()[n:])
		if err != nil && err != io.EOF {
			return 0, err
		}
		size += int64(n + m)
		if n+m > 0 {
			if err := stream.send(row.finish(id, seq, n+m)); err != nil {
				return 0, err
			}
		}
		if err == io.EOF {
			return size, ctx.Err() // as in readInline
		}
	}
}
