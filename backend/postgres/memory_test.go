package postgres

import (
	"io"
	"runtime"
	"testing"

	"github.com/atrest/atrest/backend"
)

// TestMemory checks that a body of 100 MiB goes in and out with 40 MiB of heap.
func TestMemory(t *testing.T) {
	const size, limit = 100 << 20, 40 << 20
	s := newStore(t, newPool(t, server.URL()))
	before := liveHeap()
	// sampled measures the heap in use after each 10 MiB.
	sampled := func(what string, r io.Reader) io.Reader {
		read, next := 0, 0
		return readerFunc(func(p []byte) (int, error) {
			if read >= next {
				next += 10 << 20
				if now := liveHeap(); now > before+limit {
					t.Errorf("%s: after %d bytes, %d bytes more of heap are in use", what, read, now-before)
				}
			}
			n, err := r.Read(p)
			read += n
			return n, err
		})
	}
	body := &patterned{make([]byte, 1<<20), size}
	v, err := s.Put(t.Context(), "name", nil, sampled("put", body), backend.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	o, err := s.Get(t.Context(), "name", backend.All, v)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Body.Close()
	if n, err := io.Copy(io.Discard, sampled("get", o.Body)); n != size || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
