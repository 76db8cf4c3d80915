package postgres

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// A reader is the Body of an Object: a page at hand, and after it those that
// are still in the database.
type reader struct {
	s         *Store
	ctx       context.Context
	cancel    context.CancelFunc
	name      string // escaped
	id        contentID
	chunkSize int64

	closing chan struct{} // closed by the first Close, so that no Read waits on; nil if none ever waits
	once    sync.Once

	mu     sync.Mutex // of what follows
	closed bool
	page   []byte      // at hand
	buf    *pageBuffer // what it is of, but for the first, which has memory of its own
	next   int64       // where the page begins that is not yet asked for
	end    int64
	coming []chan fetched // the pages that were asked for, in order
	err    error          // sticky
}

var _ backend.ChunkReader = (*reader)(nil)

// fetched is the outcome of asking for a page.
type fetched struct {
	buf  *pageBuffer
	page []byte
	err  error
}

// A pageBuffer is memory for a page from a pool, which gets it back when nobody uses
// it any more: neither the reader nor a borrower.
type pageBuffer struct {
	bytes *[]byte
	pool  *sync.Pool
	uses  atomic.Int32
}

func newPageBuffer(pool *sync.Pool) *pageBuffer {
	b := &pageBuffer{bytes: pool.Get().(*[]byte), pool: pool}
	b.uses.Store(1)
	return b
}

func (b *pageBuffer) release() {
	if b.uses.Add(-1) == 0 {
		b.pool.Put(b.bytes)
	}
}

// newReader makes the reader of a range from the row, which has the first page.
func (s *Store) newReader(ctx context.Context, escaped string, row gotRow, rng backend.Range) (*reader, error) {
	offset, n := rng.Clamp(row.size)
	first := min(n, firstPage)
	if row.chunkSize != nil {
		first = min(first, int64(*row.chunkSize)-offset%int64(*row.chunkSize))
	}
	if n > 0 && int64(len(row.page)) != first {
		return nil, damaged("a chunk of the body is missing or of another length")
	}
	r := &reader{
		s: s, ctx: ctx, cancel: func() {}, name: escaped, id: row.id,
		page: row.page, next: offset + first, end: offset + n,
	}
	if n == 0 {
		r.page = nil
	}
	if r.next < r.end {
		r.chunkSize = int64(*row.chunkSize) // a body in the row is of one page
		r.ctx, r.cancel = context.WithCancel(ctx)
		r.closing = make(chan struct{})
	}
	return r, nil
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.await(len(p) > 0); err != nil {
		return 0, err
	}
	return copy(p, r.take(len(p))), nil
}

// NextChunk implements backend.ChunkReader.
func (r *reader) NextChunk(n int) (p []byte, release func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.await(true); err != nil {
		return nil, nil, err
	}
	if r.buf == nil {
		return r.take(n), func() {}, nil
	}
	r.buf.uses.Add(1)
	return r.take(n), r.buf.release, nil
}

// take returns up to n bytes of the page at hand.
func (r *reader) take(n int) []byte {
	n = min(n, len(r.page))
	p := r.page[:n:n]
	r.page = r.page[n:]
	return p
}

// await returns an error, or nil when there is a page at hand, or without that if it is
// not to wait.
func (r *reader) await(wait bool) error {
	if r.closed {
		return os.ErrClosed
	}
	if err := r.ctx.Err(); err != nil || !wait {
		return err
	}
	r.askAhead()
	if len(r.page) == 0 && r.err == nil {
		r.err = r.turn()
	}
	return r.err
}

// askAhead asks for the next pages, as many as may be on their way. It is reading that
// starts it: whoever never reads pays for nothing.
func (r *reader) askAhead() {
	for len(r.coming) < pagesAhead && r.next < r.end {
		from, to := r.next, r.pageEnd(r.next)
		r.next = to
		coming := make(chan fetched, 1) // so that it can be left there
		r.coming = append(r.coming, coming)
		go func() { coming <- r.fetch(from, to) }()
	}
}

// pageEnd returns where a page ends: with a chunk if it can, so that none is looked
// up twice.
func (r *reader) pageEnd(from int64) int64 {
	end := from + pageSize
	if whole := end - end%r.chunkSize; whole > from {
		end = whole
	}
	return min(end, r.end)
}

// turn waits for the page that comes next, or returns io.EOF.
func (r *reader) turn() error {
	r.release()
	if len(r.coming) == 0 {
		return io.EOF
	}
	var got fetched
	select {
	case got = <-r.coming[0]:
	case <-r.closing:
		return os.ErrClosed
	}
	r.coming = r.coming[1:]
	r.buf, r.page = got.buf, got.page
	if got.err != nil {
		return fmt.Errorf("postgres: read: %w", got.err)
	}
	r.askAhead()
	return nil
}

// release gives back the buffer of the page at hand.
func (r *reader) release() {
	if r.buf != nil {
		r.buf.release()
	}
	r.buf, r.page = nil, nil
}

// closeTime is how long a page that nobody wants any more may take to come before
// its connection is closed, which is what cancelling means. Mostly it is there at
// once, and the connection can be used again.
const closeTime = 5 * time.Second

// Close may be called while Read is in progress, which then fails, and again.
func (r *reader) Close() error {
	r.once.Do(func() {
		if r.closing != nil {
			close(r.closing)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.closed = true
		r.release()
		r.abandon()
	})
	return nil
}

// abandon leaves the pages that are still to come to a goroutine.
func (r *reader) abandon() {
	if len(r.coming) == 0 {
		r.cancel()
		return
	}
	timer := time.AfterFunc(closeTime, r.cancel)
	go func() {
		for _, coming := range r.coming {
			got := <-coming
			got.buf.release()
		}
		timer.Stop()
		r.cancel()
	}()
}

// pageSQL returns what chunks of a version hold of the bytes $2 to $3 of the body,
// in order. $4 is the size of the chunks. The order is made in a query of its own,
// because what the planner may sort there are references to chunks; outside, it would
// be chunks.
var pageSQL = statement{`
SELECT CASE
    WHEN c.seq * $4::bigint >= $2::bigint AND c.seq * $4::bigint + octet_length(c.data) <= $3::bigint THEN c.data
    ELSE substring(c.data
        FROM (greatest($2::bigint - c.seq * $4::bigint, 0) + 1)::integer
        FOR (least($3::bigint - c.seq * $4::bigint, $4::bigint) - greatest($2::bigint - c.seq * $4::bigint, 0))::integer)
    END
FROM (
    SELECT seq, data FROM @schema@.chunks
    WHERE version = $1 AND seq BETWEEN $2::bigint / $4::bigint AND ($3::bigint - 1) / $4::bigint
    ORDER BY seq
) c`,
	[]uint32{pgtype.UUIDOID, pgtype.Int8OID, pgtype.Int8OID, pgtype.Int8OID}, false}

// fetch reads the bytes from one offset up to another, at most a page of them.
func (r *reader) fetch(from, to int64) fetched {
	buf := newPageBuffer(r.s.pageBuffers)
	page, n := (*buf.bytes)[:to-from], 0
	_, err := r.s.do(r.ctx, r.s.sql.page, func(rows pgx.Rows) error {
		for n = 0; rows.Next(); {
			piece := rows.RawValues()[0]
			if len(piece) > len(page)-n {
				return damaged("a chunk of the body is too long")
			}
			n += copy(page[n:], piece)
		}
		return nil
	}, r.id, from, to, r.chunkSize)
	if err == nil && n < len(page) {
		err = r.missing()
	}
	return fetched{buf, page, err}
}

// missing tells why chunks are not there: because the object was replaced or
// deleted meanwhile, or, if it is still of the version of which they were, for no good
// reason. A version that is gone does not come back, so one that is
// there now was there then.
func (r *reader) missing() error {
	var current contentID
	_, err := r.s.do(r.ctx, r.s.sql.current, into(&current), r.name)
	switch {
	case err != nil:
		return err
	case current != r.id:
		return fmt.Errorf("%w while it was read", atrest.ErrConflict)
	}
	return fmt.Errorf("%w: %w", damaged("a chunk of the body is missing or too short"), io.ErrUnexpectedEOF)
}
