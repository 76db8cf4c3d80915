package s3

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// A reader is the Body of an Object. Its zero value is an empty body.
type reader struct {
	closed atomic.Bool
	mu     sync.Mutex // held by Read, and by Close after it has cancelled

	ctx   context.Context // the caller's; nil: there is nothing to read
	ready bytes.Reader    // of what has come, the part that was not handed out
	err   error           // sticky
	*stream
}

// A stream is what a reader has beyond one chunk in memory.
type stream struct {
	store   *Store
	key     string
	at      seen
	fetches context.Context // ends with Close
	cancel  context.CancelFunc
	chunk   *[]byte // what ready is of
	coming  []chan arrival
	next    int64 // offset of the first byte that was not asked for
	end     int64
	running sync.WaitGroup
}

// An arrival is a chunk, or what came instead.
type arrival struct {
	chunk *[]byte
	n     int
	err   error
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
		chunk := getBuffer(r.store.chunkPool(), int(r.store.chunkSize()))
		buf := (*chunk)[:n]
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
		arrived <- arrival{chunk, n, err}
	})
}

func (r *reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		switch {
		case r.closed.Load():
			return 0, errClosed
		case r.ctx == nil:
			return 0, io.EOF
		case r.ctx.Err() != nil:
			return 0, r.ctx.Err()
		case r.ready.Len() > 0:
			return r.ready.Read(p)
		case r.err != nil:
			return 0, r.err
		case len(p) == 0:
			return 0, nil
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
		r.store.chunkPool().Put(r.chunk)
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
		r.ready.Reset((*a.chunk)[:a.n])
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
	r.ready.Reset(nil) // what has not come back to the pool is garbage
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
