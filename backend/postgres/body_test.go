package postgres

import (
	"errors"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/atrest/atrest/backend"
)

// TestCloseTwice closes bodies that have come whole, and others, by many at once and while
// they are read.
func TestCloseTwice(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	for _, size := range []int{0, 1000, 3*chunkSize + 1} {
		mustPut(t, s, "name", size)
		o, err := s.Get(t.Context(), "name", backend.All, "")
		if err != nil {
			t.Fatal(err)
		}
		var calls sync.WaitGroup
		for range 4 {
			calls.Go(func() {
				for {
					if _, err := o.Body.Read(make([]byte, 10)); err == io.EOF || errors.Is(err, os.ErrClosed) {
						return
					} else if err != nil {
						t.Error(err)
						return
					}
				}
			})
			calls.Go(func() {
				if err := o.Body.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		if err := o.Body.Close(); err != nil {
			t.Error(err)
		}
		for _, n := range []int{0, 1} {
			if _, err := o.Body.Read(make([]byte, n)); !errors.Is(err, os.ErrClosed) {
				t.Errorf("%d bytes of a body of %d after Close: %v", n, size, err)
			}
		}
		if _, _, err := o.Body.(backend.ChunkReader).NextChunk(1); !errors.Is(err, os.ErrClosed) {
			t.Errorf("a chunk of a body of %d after Close: %v", size, err)
		}
	}
}
