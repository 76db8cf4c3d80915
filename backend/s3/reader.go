package s3

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atrest/atrest/backend"
)

// A reader is the Body of an Object. Its zero value is an empty body.
type reader struct {
	closed atomic.Bool
	mu     sync.Mutex // held by Read, and by Close after it has cancelled

	ctx   context.Context // the caller's; nil: there is nothing to read
	ready []byte          // of what has come, the part that was not handed out
	err   error           // sticky
	*stream
}

var _ backend.ChunkReader = (*reader)(nil)

// A stream is what a reader has beyond one chunk in memory.
type stream struct {
	store   *Store
	key     string
	at      seen
	fetches context.Context // ends with Close
	cancel  context.CancelFunc
	chunk   *chunk // what ready is of
	coming  []chan arrival
	next    int64 // offset of the first byte that was not asked for
	end     int64
	running sync.WaitGroup
}

// An arrival is a chunk, or what came instead.
type arrival struct {
	chunk *chunk
	data  []byte // of the chunk
	err   error
}

// A chunk is a part of the body in memory from a pool, which gets it back when
// nobody uses it any more: neither the reader nor a borrower.
type chunk struct {
	buf  *[]byte
	pool *sync.Pool
	uses atomic.Int32
}

func (s *Store) newChunk() *chunk {
	c := &chunk{buf: getBuffer(s.chunkPool(), int(s.chunkSize())), pool: s.chunkPool()}
	c.uses.Store(1)
	return c
}

func (c *chunk) release() {
	if c.uses.Add(-1) == 0 {
		c.pool.Put(c.buf)
	}
}

// newReader returns the body from offset, of n bytes, of which the first chunk
// is on its way.
func (s *Store) newReader(ctx context.Context, key string, at seen, first *part, offset, n int64) *reader {
	r := &reader{ctx: ctx, stream: &stream{store: s, key: key, at: at, next: offset, end: offset + n}}
	r.fetches, r.cancel = context.WithCancel(ctx)
	r.receive(first)
	return r
}

// receive begins to take in the next chunk: first, if it is on its way already.
func (r *stream) receive(first *part) {
	offset := r.next
	n := int(min(r.store.chunkSize(), r.end-offset))
	r.next += int64(n)
	arrived := make(chan arrival, 1)
	r.coming = append(r.coming, arrived)
	r.running.Go(func() {
		chunk := r.store.newChunk()
		buf := (*chunk.buf)[:n]
		var err error
		if first != nil {
			// Its request has begun before this reader was.
			stop := context.AfterFunc(r.fetches, first.cancel)
			err = first.readAll(r.fetches, buf)
			stop()
		} else {
			err = r.store.fetchInto(r.fetches, r.key, r.at, offset, buf)
		}
		if err != nil {
			err = r.store.refetch(r.fetches, r.key, r.at, offset, buf, err)
		}
		arrived <- arrival{chunk, buf, err}
	})
}

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
	if r.stream == nil {
		return r.take(n), func() {}, nil
	}
	r.chunk.uses.Add(1)
	return r.take(n), r.chunk.release, nil
}

// take returns up to n bytes of what is ready.
func (r *reader) take(n int) []byte {
	n = min(n, len(r.ready))
	p := r.ready[:n:n]
	r.ready = r.ready[n:]
	return p
}

// await returns an error, or nil when something is ready, or without that if it is
// not to wait.
func (r *reader) await(wait bool) error {
	for {
		switch {
		case r.closed.Load():
			return errClosed
		case r.ctx == nil:
			return io.EOF
		case r.ctx.Err() != nil:
			return r.ctx.Err()
		case len(r.ready) > 0:
			return nil
		case r.err != nil:
			return r.err
		case !wait:
			return nil
		case r.stream == nil || len(r.coming) == 0 && r.next == r.end:
			r.err = io.EOF
		default:
			r.advance()
		}
	}
}

// advance waits for the next chunk, or sets err.
func (r *reader) advance() {
	if r.chunk != nil {
		r.chunk.release()
		r.chunk = nil
	}
	for len(r.coming) < max(2, r.store.cfg.Concurrency) && r.next < r.end {
		r.receive(nil)
	}
	select {
	case a := <-r.coming[0]:
		r.coming = r.coming[1:]
		r.chunk = a.chunk
		if a.err != nil {
			r.err = fmt.Errorf("s3: read %.100q: %w", r.key, a.err)
			return
		}
		r.ready = a.data
	case <-r.fetches.Done(): // closed, or the caller's context has ended
	}
}

// Close may be called while Read is in progress, and again. It waits for the
// requests that it breaks off.
func (r *reader) Close() error {
	if r.closed.Swap(true) || r.stream == nil {
		return nil
	}
	r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running.Wait()
	r.ready = nil // what has not come back to the pool is garbage
	return nil
}

// getBuffer returns a buffer of size bytes from a pool.
func getBuffer(pool *sync.Pool, size int) *[]byte {
	if b, ok := pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, size)
	return &b
}

// pause waits before something is tried for the n-th time.
func pause(ctx context.Context, n int) error {
	timer := time.NewTimer(time.Duration(n*n) * 50 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
