package backendtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/atrest/atrest/backend"
)

// testChunks is for those whose bodies are [backend.ChunkReader].
func (s suite) testChunks(t *testing.T) {
	if !s.lends(t) {
		return
	}
	t.Run("Equal", s.testChunksEqual)
	t.Run("Mixed", s.testChunksMixed)
	t.Run("Loans", s.testChunksLoans)
	t.Run("Close", s.testChunksClose)
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) { t.Parallel(); s.cancelChunks(t, e) })
	}
}

// chunked is a body of several chunks on every backend.
var chunked = content{6, 19*mib + 77}

// lends reports whether bodies can be lent.
func (s suite) lends(t *testing.T) bool {
	st, c := s.open(t), content{6, 1}
	st.put("name", c)
	o := st.get("name")
	defer o.Body.Close()
	_, ok := o.Body.(backend.ChunkReader)
	if !ok {
		t.Log("the bodies of this backend are no ChunkReaders")
	}
	return ok
}

// getChunks opens a range of the object "name".
func (st store) getChunks(rng backend.Range) lendingBody {
	st.t.Helper()
	o, err := st.Get(st.ctx, "name", rng, "")
	if err != nil {
		st.t.Fatalf("Get of %d bytes from %d: %v", rng.Length, rng.Offset, err)
	}
	chunks, ok := o.Body.(backend.ChunkReader)
	if !ok {
		o.Body.Close()
		st.t.Fatalf("the body of %d bytes from %d is no ChunkReader, while others are", rng.Length, rng.Offset)
	}
	return lendingBody{chunks, o.Body}
}

type lendingBody struct {
	backend.ChunkReader
	io.Closer
}

// next checks what can be checked of every chunk.
func (b lendingBody) next(n int) (chunk []byte, release func(), err error) {
	chunk, release, err = b.NextChunk(n)
	switch {
	case err == nil && (len(chunk) == 0 || len(chunk) > n):
		return nil, nil, fmt.Errorf("%w: a NextChunk of %d bytes returned %d", errWrongBytes, n, len(chunk))
	case err == nil && release == nil:
		return nil, nil, fmt.Errorf("%w: a NextChunk returned neither an error nor a release", errWrongBytes)
	case err != nil && len(chunk) > 0:
		return nil, nil, fmt.Errorf("%w: a NextChunk returned %d bytes and the error %v", errWrongBytes, len(chunk), err)
	}
	return chunk, release, err
}

// asReader reads by borrowing.
func (b lendingBody) asReader() io.Reader {
	return funcReader(func(p []byte) (int, error) {
		chunk, release, err := b.next(len(p))
		if err != nil {
			return 0, err
		}
		defer release()
		return copy(p, chunk), nil
	})
}

// testChunksEqual borrows whole bodies and ranges, in pieces of various sizes.
func (s suite) testChunksEqual(t *testing.T) {
	t.Parallel()
	for _, c := range []content{{6, 0}, {6, 1}, {6, 5000}, {6, 300 * kib}, chunked} {
		t.Run(fmt.Sprint(c.size), func(t *testing.T) {
			st := s.open(t)
			st.put("name", c)
			for _, rng := range []backend.Range{{}, backend.All, {Offset: 1, Length: -1}, {Offset: c.size / 3, Length: c.size/2 + 1}, {Offset: c.size, Length: 5}} {
				for _, n := range []int{4099, 256 * kib, 32 * mib} {
					if int64(n) < c.size/1000 {
						continue // it takes long and finds nothing new
					}
					offset, length := rng.Clamp(c.size)
					b := st.getChunks(rng)
					if err := c.compare(b.asReader(), offset, length, n); err != nil {
						t.Errorf("%d bytes from %d, in chunks of up to %d bytes: %v", length, offset, n, err)
					}
					b.Close()
				}
			}
		})
	}
}

// testChunksMixed goes through a body with both methods in turns.
func (s suite) testChunksMixed(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	st.put("name", chunked)
	b := st.getChunks(backend.All)
	defer b.Close()
	borrowing := b.asReader()
	mixed := funcReader(func(p []byte) (int, error) {
		p = p[:1+rand.IntN(len(p))]
		if rand.IntN(2) == 0 {
			return b.Read(p)
		}
		return borrowing.Read(p)
	})
	if err := chunked.compare(mixed, 0, chunked.size, 700*kib); err != nil {
		t.Error(err)
	}
}

// testChunksLoans keeps all that is lent beyond the end and Close, and meanwhile
// has the backend use whatever memory it takes for free.
func (s suite) testChunksLoans(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	st.put("name", chunked)
	st.put("other", content{7, chunked.size})
	b := st.getChunks(backend.All)
	var lent [][]byte
	var releases []func()
	for {
		chunk, release, err := b.next(256 * kib)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		lent, releases = append(lent, chunk), append(releases, release)
	}
	reuse := func(when string) {
		t.Helper()
		o := st.get("other")
		defer o.Body.Close()
		if err := (content{7, chunked.size}).compare(o.Body, 0, chunked.size, mib); err != nil {
			t.Fatal(err)
		}
		if got := bytes.Join(lent, nil); !bytes.Equal(got, chunked.bytes()) {
			t.Errorf("%s, what was lent is not what it was", when)
		}
	}
	reuse("before Close")
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	reuse("after Close")
	var wg sync.WaitGroup
	for _, release := range releases {
		wg.Go(release)
	}
	wg.Wait()
}

// testChunksClose closes before, during and after a NextChunk. What was lent stays.
func (s suite) testChunksClose(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	st.put("name", chunked)
	for range s.times(10) {
		b := st.getChunks(backend.All)
		first, release, err := b.next(mib)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				_, release, err := b.next(100 * kib)
				if err != nil {
					return
				}
				release()
			}
		})
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		s.within(t, "NextChunk while the body is closed", wg.Wait)
		want := make([]byte, len(first))
		chunked.fill(want, 0)
		if !bytes.Equal(first, want) {
			t.Error("a chunk that was lent has changed with Close")
		}
		release()
		if _, _, err := b.next(1); err == nil || err == io.EOF {
			t.Errorf("NextChunk after Close: %v", err)
		}
	}
}

// cancelChunks ends the context after the first chunk.
func (s suite) cancelChunks(t *testing.T, e ending) {
	st := s.open(t)
	st.put("name", chunked)
	ctx, end := e.begin(st.ctx)
	o, err := st.Get(ctx, "name", backend.All, "")
	if err == nil {
		defer o.Body.Close()
		_, _, err = o.Body.(backend.ChunkReader).NextChunk(1)
	}
	if err != nil && !errors.Is(err, e.want) { // on a slow day it has ended by now
		t.Fatal(err)
	}
	end()
	if err != nil {
		return
	}
	for range 3 {
		if _, _, err := o.Body.(backend.ChunkReader).NextChunk(mib); !errors.Is(err, e.want) {
			t.Errorf("NextChunk after the context has ended: error %v; want %q", err, e.want)
		}
	}
}
