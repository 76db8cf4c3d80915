package backendtest_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/backendtest"
)

// A lender makes a ChunkReader of a sound body, in chunks of up to 1 MiB that come from
// a pool. Each field that is set makes one thing wrong.
type lender struct {
	io.ReadCloser
	pool   *sync.Pool
	closed atomic.Bool

	more      bool // lends more than is asked for
	mute      bool // lends nothing, without an error
	unfit     bool // returns no release
	afterEnd  bool // says nil at the end
	releaseBy bool // takes the memory for its own when the next chunk is asked for
	byClose   bool // takes the memory for its own when it is closed
	peeks     bool // lends without going on
	open      bool // lends after Close
	forgets   bool // goes on after a failure

	last []*[]byte
}

func (l *lender) NextChunk(n int) ([]byte, func(), error) {
	if l.closed.Load() && !l.open {
		return nil, nil, errors.New("closed")
	}
	if l.releaseBy {
		l.takeBack()
	}
	if l.mute {
		return nil, func() {}, nil
	}
	buf := l.pool.Get().(*[]byte)
	if l.more {
		n += 5
	}
	m, err := l.Read((*buf)[:min(n, len(*buf))])
	if m == 0 {
		if l.open && l.closed.Load() || l.forgets && err != io.EOF {
			return (*buf)[:min(n, len(*buf))], func() {}, nil
		}
		if l.afterEnd {
			return nil, nil, nil
		}
		return nil, nil, err
	}
	l.last = append(l.last, buf)
	if l.unfit {
		return (*buf)[:m], nil, nil
	}
	if l.peeks {
		l.ReadCloser = body{io.MultiReader(readerOf((*buf)[:m]), l.ReadCloser), l.ReadCloser}
	}
	return (*buf)[:m], func() {}, nil
}

// takeBack has others use what is lent.
func (l *lender) takeBack() {
	for _, buf := range l.last {
		clear(*buf)
		l.pool.Put(buf)
	}
	l.last = nil
}

func (l *lender) Close() error {
	if !l.closed.Swap(true) && l.byClose {
		l.takeBack()
	}
	return l.ReadCloser.Close()
}

// readerOf yields a copy of p.
func readerOf(p []byte) io.Reader { return &copyReader{append([]byte(nil), p...)} }

type copyReader struct{ rest []byte }

func (r *copyReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// lends makes all bodies lenders, with something wrong.
func lends(wrong func(*lender)) func(*altered) {
	pool := &sync.Pool{New: func() any { b := make([]byte, 1<<20); return &b }}
	return answer(func(o *backend.Object, _ backend.Range) {
		l := &lender{ReadCloser: o.Body, pool: pool}
		wrong(l)
		o.Body = l
	})
}

func chunkMutants() []mutant {
	return []mutant{
		{name: "lends more than is asked for", found: "Chunks/Equal/5000", wrong: lends(func(l *lender) { l.more = true })},
		{name: "lends nothing", found: "Chunks/Equal/1", wrong: lends(func(l *lender) { l.mute = true })},
		{name: "lends without a release", found: "Chunks/Equal/1", wrong: lends(func(l *lender) { l.unfit = true })},
		{name: "lends the end", found: "Chunks/Equal/0", wrong: lends(func(l *lender) { l.afterEnd = true })},
		{name: "lends the same again", found: "Chunks/Mixed", wrong: lends(func(l *lender) { l.peeks = true })},
		{name: "takes back what it has lent", found: "Chunks/Loans", wrong: lends(func(l *lender) { l.releaseBy = true })},
		{name: "takes back with Close", found: "Chunks/Loans", wrong: lends(func(l *lender) { l.byClose = true })},
		{name: "lends after Close", found: "Chunks/Close", wrong: lends(func(l *lender) { l.open = true })},
		{name: "lends after its context has ended", found: "Chunks/Canceled", wrong: lends(func(l *lender) { l.forgets = true })},
		{name: "lends some bodies only", found: "Chunks/Equal/0", wrong: func(a *altered) {
			a.get = func(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error) {
				o, err := a.Blobs.Get(ctx, name, rng, v)
				if err == nil && o.Size > 0 {
					o.Body = &lender{ReadCloser: o.Body, pool: &sync.Pool{New: func() any { b := make([]byte, 1<<20); return &b }}}
				}
				return o, err
			}
		}},
	}
}

// TestChunksOfSound: what the mutants are made of has nothing wrong.
func TestChunksOfSound(t *testing.T) {
	cfg := config(lends(func(*lender) {}))
	cfg.Groups = []string{"Chunks"}
	backendtest.Run(t, cfg)
}
