package backendtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

func (s suite) testRanges(t *testing.T) {
	for _, size := range []int64{0, 1, 2, 4096, 5000, 64*kib + 1, 300 * kib} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			s.rangesOf(t, size)
		})
	}
	t.Run("Random", func(t *testing.T) {
		t.Parallel()
		st, c := s.open(t), content{4, 3*mib + 7}
		v := st.put("name", c)
		for range s.times(200) {
			offset := rand.Int64N(c.size)
			st.wantRange(v, c, backend.Range{Offset: offset, Length: rand.Int64N(c.size - offset + 1)})
		}
	})
	t.Run("Version", func(t *testing.T) {
		t.Parallel()
		st, c := s.open(t), content{4, 100}
		old := st.put("name", c)
		v := st.put("name", c)
		for _, rng := range []backend.Range{{}, backend.All, {Offset: 50, Length: 10}} {
			_, err := st.Get(st.ctx, "name", rng, old)
			wantError(t, "Get of a version that was replaced", err, atrest.ErrConflict)
			_, err = st.Get(st.ctx, "other", rng, v)
			wantError(t, "Get of some version of a missing name", err, atrest.ErrNotFound)
			o, err := st.Get(st.ctx, "name", rng, v)
			if err != nil {
				t.Fatalf("Get of the current version: %v", err)
			}
			o.Body.Close()
		}
	})
}

// rangesOf tries all pairs of offsets and lengths at which something changes.
func (s suite) rangesOf(t *testing.T, size int64) {
	st, c := s.open(t), content{4, size}
	v := st.put("name", c)
	lengths := []int64{0, 1, 2, 4096, 64 * kib, size - 1, size, size + 1, -1, -7, math.MinInt64, math.MaxInt64, math.MaxInt64 - 1, math.MaxInt64 - size}
	for _, offset := range []int64{0, 1, 2, size / 2, 4095, 4096, 64 * kib, size - 2, size - 1, size, size + 1, size * 2, 1 << 40, math.MaxInt64} {
		if offset < 0 {
			continue
		}
		for _, length := range lengths {
			st.wantRange(v, c, backend.Range{Offset: offset, Length: length})
		}
	}
}

func (st store) wantRange(v backend.Version, c content, rng backend.Range) {
	st.t.Helper()
	o, err := st.Get(st.ctx, "name", rng, "")
	if err != nil {
		st.t.Fatalf("Get of %d bytes from %d, of %d: %v", rng.Length, rng.Offset, c.size, err)
	}
	defer o.Body.Close()
	if o.Size != c.size || o.Version != v || !bytes.Equal(o.Header, c.header()) {
		st.t.Fatalf("Get of %d bytes from %d, of %d: size %d, version %q, header %.60q; want version %q, header %.60q",
			rng.Length, rng.Offset, c.size, o.Size, o.Version, o.Header, v, c.header())
	}
	n := max(0, c.size-rng.Offset)
	if rng.Length >= 0 {
		n = min(n, rng.Length)
	}
	if err := c.compare(o.Body, rng.Offset, n, 10_000); err != nil {
		st.t.Fatalf("Get of %d bytes from %d, of %d: %v", rng.Length, rng.Offset, c.size, err)
	}
}

// testBody is about what a consumer may do with a Body.
func (s suite) testBody(t *testing.T) {
	t.Run("Chunks", func(t *testing.T) {
		t.Parallel()
		st, c := s.open(t), content{4, 200*kib + 3}
		st.put("name", c)
		for _, chunk := range []int{1, 3, 7, 511, 4096, 4099, 64*kib - 1, mib} {
			o := st.get("name")
			if err := c.compare(o.Body, 0, c.size, chunk); err != nil {
				t.Errorf("in reads of %d bytes: %v", chunk, err)
			}
			o.Body.Close()
		}
	})
	t.Run("TestReader", func(t *testing.T) {
		t.Parallel()
		st, c := s.open(t), content{4, 10_000}
		st.put("name", c)
		o := st.get("name")
		defer o.Body.Close()
		if err := iotest.TestReader(o.Body, c.bytes()); err != nil {
			t.Error(err)
		}
	})
	t.Run("Close", s.testClose)
}

func (st store) get(name string) *backend.Object {
	st.t.Helper()
	o, err := st.Get(st.ctx, name, backend.All, "")
	if err != nil {
		st.t.Fatalf("Get(%.80q): %v", name, err)
	}
	return o
}

// testClose closes bodies that were read not at all, in part, and to the end.
func (s suite) testClose(t *testing.T) {
	t.Parallel()
	st, c := s.open(t), content{4, 3 * mib}
	v := st.put("name", c)
	for _, n := range []int64{0, 1, 100 * kib, c.size, c.size + 1} {
		o := st.get("name")
		if _, err := io.CopyN(io.Discard, o.Body, n); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		for range 2 {
			if err := o.Body.Close(); err != nil {
				t.Errorf("Close after %d bytes: %v", n, err)
			}
		}
		got, err := o.Body.Read(make([]byte, 10))
		if got != 0 || err == nil || err == io.EOF && n <= c.size {
			t.Errorf("Read after %d bytes and Close returned %d bytes and error %v", n, got, err)
		}
	}
	o, err := st.Get(st.ctx, "name", backend.Range{}, v)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(o.Body.Close(), o.Body.Close()); err != nil {
		t.Errorf("Close of the body that a zero Range selects: %v", err)
	}
}

// testHeap checks that a body passes through without being held. Not parallel:
// the heap is everybody's.
func (s suite) testHeap(t *testing.T) {
	st, c := s.open(t), content{1, 20 * mib}
	before := liveHeap()
	sample := func(r io.Reader) (io.Reader, *uint64) {
		var peak, next uint64
		var read uint64
		return funcReader(func(p []byte) (int, error) {
			if read >= next {
				next += 2 * mib
				peak = max(peak, liveHeap())
			}
			n, err := r.Read(p)
			read += uint64(n)
			return n, err
		}), &peak
	}
	body, peak := sample(c.reader())
	v, err := st.Put(st.ctx, "name", c.header(), body, backend.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	if *peak > before+s.HeapLimit {
		t.Errorf("Put of %d bytes had %d bytes of heap in use; the limit is %d", c.size, *peak-before, s.HeapLimit)
	}
	o, err := st.Get(st.ctx, "name", backend.All, v)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Body.Close()
	body, peak = sample(o.Body)
	if err := c.compare(body, 0, c.size, 32*kib); err != nil {
		t.Fatal(err)
	}
	if *peak > before+s.HeapLimit {
		t.Errorf("Get of %d bytes had %d bytes of heap in use; the limit is %d", c.size, *peak-before, s.HeapLimit)
	}
}

func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
