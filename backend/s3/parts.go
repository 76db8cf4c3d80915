package s3

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/atrest/atrest"
)

// A stage is a number of parts of one size.
type stage struct {
	parts   int
	size    int64
	buffers int // in memory at a time, of which one is being filled
}

// stages returns how a body is divided. Parts grow, so that 10,000 of them are
// enough, and there are fewer of them in memory then, so that the memory in use
// stays the same. The last stage fills its only buffer and sends it by turns.
func (s *Store) stages() []stage {
	size, memory := s.cfg.PartSize, int64(s.cfg.Concurrency+2)
	return []stage{
		{1000, size, s.cfg.Concurrency + 1},
		{3000, min(2*size, maxPart), int(memory / 2)},
		{maxParts - 4000, min(memory*size, maxPart), 1},
	}
}

// sendAll sends the body in parts, first first. It reads in the caller's
// goroutine, and returns when no request is under way any more.
func (u *upload) sendAll(ctx context.Context, first []byte, body io.Reader) error {
	for _, st := range u.stages() {
		if eof, err := u.sendStage(ctx, st, first, body); err != nil || eof {
			return err
		}
		first = nil
	}
	return fmt.Errorf("%w: the body has more than %d parts: set a larger Config.PartSize", atrest.ErrTooLarge, maxParts)
}

// sendStage sends up to st.parts parts and tells whether the body has ended.
func (u *upload) sendStage(parent context.Context, st stage, first []byte, body io.Reader) (eof bool, err error) {
	ctx, cancel := context.WithCancelCause(parent)
	b := buffers{Store: u.Store, free: make(chan []byte, st.buffers), size: st.size, left: st.buffers}
	// In this order also if the body panics: no request is under way when the
	// upload is aborted, or when a buffer is used again.
	defer b.release()
	var sending sync.WaitGroup
	defer sending.Wait()
	defer cancel(context.Canceled)
	for range st.parts {
		buf, n := first, len(first)
		if first != nil {
			b.left--
			first = nil
		} else if buf, err = b.next(ctx); err == nil {
			n, eof, err = fill(ctx, body, buf)
		}
		if err != nil || n == 0 {
			b.put(buf)
			break
		}
		number := u.number()
		sending.Go(func() {
			defer b.put(buf)
			if err := u.send(ctx, number, buf[:n]); err != nil {
				cancel(err)
			}
		})
		if eof {
			break
		}
	}
	// If the body has failed, the parts on their way are for nothing. They are not
	// broken off nevertheless: what they leave behind would be harder to remove.
	sending.Wait()
	switch {
	case parent.Err() != nil:
		return false, parent.Err()
	case ctx.Err() != nil:
		return false, context.Cause(ctx) // the first thing that went wrong
	}
	return eof, err
}

// buffers are those of one stage.
type buffers struct {
	*Store
	free chan []byte
	size int64
	left int // how many may yet be made
}

// next returns a buffer that nobody uses, as soon as there is one.
func (b *buffers) next(ctx context.Context) ([]byte, error) {
	select {
	case buf := <-b.free:
		return buf, nil
	default:
	}
	if b.left > 0 {
		b.left--
		return b.newPart(b.size), nil
	}
	select {
	case buf := <-b.free:
		return buf, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *buffers) put(buf []byte) {
	if buf != nil {
		b.free <- buf
	}
}

// release gives back the buffers, all of which are free.
func (b *buffers) release() {
	for {
		select {
		case buf := <-b.free:
			if int64(len(buf)) == b.cfg.PartSize {
				b.parts.Put(&buf)
			}
		default:
			return
		}
	}
}

// newPart returns a buffer of size bytes. Those of Config.PartSize are used again.
func (s *Store) newPart(size int64) []byte {
	if size == s.cfg.PartSize {
		return *getBuffer(&s.parts, int(size))
	}
	return make([]byte, size)
}
