package postgres

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/atrest/atrest/backend"
)

// TestRangeOnTheWire reads 4 KiB of a large object and counts what comes from the
// server: little more than that, in one round trip unless it is of two chunks.
func TestRangeOnTheWire(t *testing.T) {
	t.Parallel()
	const (
		size, piece = 16*chunkSize + 100, 4096
		overhead    = 512 // of one answer: the row's columns and the messages around it
	)
	for _, mode := range []string{"cache_statement", "exec"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			var c counter
			s := newStore(t, newPool(t, server.URL()+"&default_query_exec_mode="+mode, c.limit))
			body := bodyOf(size)
			v := mustPut(t, s, "name", size)
			get := func(offset int64) []byte {
				t.Helper()
				o, err := s.Get(t.Context(), "name", backend.Range{Offset: offset, Length: piece}, v)
				if err != nil {
					t.Fatal(err)
				}
				defer o.Body.Close()
				got, err := io.ReadAll(o.Body)
				if err != nil {
					t.Fatal(err)
				}
				return got
			}
			// What is to be prepared is prepared then, on both connections.
			wantObject(t, s, "name", v, size)
			for range 4 {
				get(chunkSize - 1)
			}
			for _, r := range []struct {
				what   string
				offset int64
				trips  int64 // at most
			}{
				{"beginning", 0, 1},
				{"beginning of a chunk", 5 * chunkSize, 1},
				{"middle of a chunk", 9*chunkSize + 12345, 1},
				{"end of a chunk", 7*chunkSize - piece, 1},
				{"two chunks", 7*chunkSize - piece/2, 2},
				{"one byte of a chunk, and the next", 12*chunkSize - 1, 2},
				{"end", size - piece, 2}, // the last chunk has 100 bytes
				{"beyond the end", size - 50, 1},
			} {
				trips, received := c.trips.Load(), c.received.Load()
				got := get(r.offset)
				trips, received = c.trips.Load()-trips, c.received.Load()-received
				if !bytes.Equal(got, body[r.offset:min(size, r.offset+piece)]) {
					t.Errorf("%s: wrong bytes", r.what)
				}
				if trips > r.trips || received > int64(len(got))+trips*overhead {
					t.Errorf("%s: %d bytes took %d of the wire in %d round trips", r.what, len(got), received, trips)
				}
			}
		})
	}
	t.Run("in its row", func(t *testing.T) {
		t.Parallel()
		var c counter
		s := newStore(t, newPool(t, server.URL(), c.limit))
		mustPut(t, s, "name", inlineLimit)
		for range 3 {
			before := c.received.Load()
			o, err := s.Get(t.Context(), "name", backend.Range{Offset: 100_000, Length: piece}, "")
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(o.Body)
			if err != nil || !bytes.Equal(got, bodyOf(inlineLimit)[100_000:100_000+piece]) {
				t.Error(fmt.Sprint(len(got), " bytes: "), err)
			}
			if received := c.received.Load() - before; received > 2*piece {
				t.Errorf("%d bytes took %d of the wire", len(got), received)
			}
		}
	})
}
