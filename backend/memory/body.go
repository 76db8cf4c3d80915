package memory

import (
	"bytes"
	"context"
	"io"
	"os"
	"sync/atomic"

	"github.com/atrest/atrest/backend"
)

// chunkSize is the length of every chunk of a body but the last.
const chunkSize = 64 << 10

// A body is kept in chunks, so that reading one of unknown size never copies
// what it already has. The bytes are never changed and so need no lock: readers
// and copies share them.
type body struct {
	chunks [][]byte
	size   int64
}

// readBody reads r to EOF, looking at ctx between reads.
func readBody(ctx context.Context, r io.Reader) (body, error) {
	var b body
	buf := make([]byte, firstRead(r))
	for {
		n, err := fill(ctx, r, buf)
		if err == nil && n < chunkSize { // it is longer than it said; all chunks but the last are full
			buf = append(buf, make([]byte, chunkSize-n)...)
			var more int
			more, err = fill(ctx, r, buf[n:])
			n += more
		}
		if n > 0 {
			b.chunks = append(b.chunks, bytes.Clone(buf[:n]))
			b.size += int64(n)
		}
		if err == io.EOF {
			// A body may notice the end of ctx only by ending early itself.
			return b, ctx.Err()
		}
		if err != nil {
			return body{}, err
		}
	}
}

// firstRead is how much to ask for at first: one byte more than the body says that it has,
// in order to see its end.
func firstRead(body io.Reader) int {
	if sized, ok := body.(interface{ Len() int }); ok {
		return min(max(sized.Len(), 0), chunkSize-1) + 1
	}
	return chunkSize
}

// fill reads until buf is full. io.ReadFull would not do: it reports EOF after
// some bytes as io.ErrUnexpectedEOF, and that is also what a body that was cut
// short returns as its own error.
func fill(ctx context.Context, r io.Reader, buf []byte) (int, error) {
	n := 0
	for n < len(buf) {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		m, err := r.Read(buf[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// A reader is the Body of a Get.
type reader struct {
	ctx    context.Context
	body   body
	offset int64
	end    int64
	closed atomic.Bool
}

func newReader(ctx context.Context, b body, rng backend.Range) *reader {
	offset, n := rng.Clamp(b.size)
	return &reader{ctx: ctx, body: b, offset: offset, end: offset + n}
}

func (r *reader) Read(p []byte) (int, error) {
	if r.closed.Load() {
		return 0, os.ErrClosed
	}
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.offset == r.end {
		return 0, io.EOF
	}
	chunk := r.body.chunks[r.offset/chunkSize][r.offset%chunkSize:]
	n := copy(p, chunk[:min(int64(len(chunk)), r.end-r.offset)])
	r.offset += int64(n)
	return n, nil
}

func (r *reader) Close() error {
	r.closed.Store(true)
	return nil
}
