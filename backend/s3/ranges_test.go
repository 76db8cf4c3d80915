package s3

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/devs3"
)

// counted counts the bytes of an answer that are read.
type counted struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// TestRangeTraffic reads 4 KiB out of 16 MiB that were put in parts: one request,
// for those bytes and no others, wherever they are.
func TestRangeTraffic(t *testing.T) {
	const size, length = 16 << 20, 4 << 10
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		cfg := config(t, srv)
		cfg.PartSize = minPart
		var w *wire
		cfg.Client, w = tap(t, cfg.Client)
		s := newStore(t, cfg)
		body := payload(1, size)
		v := mustPut(t, s, "name", "header", body)
		var received atomic.Int64
		var announced int64
		w.fault = func(_ *http.Request, answer *http.Response) (*http.Response, error) {
			announced = answer.ContentLength
			answer.Body = counted{answer.Body, &received}
			return answer, nil
		}
		for what, offset := range map[string]int64{
			"the first bytes": 0, "aligned": 1 << 20, "not aligned": 1<<20 + 12345,
			"across a segment of 64 KiB": 64<<10 - 100, "across a segment of 1 MiB": 3<<20 - 2<<10,
			"across a part": minPart - 1<<10, "across a chunk": maxChunk - 1, "the last bytes": size - length,
		} {
			w.take()
			received.Store(0)
			o, err := s.Get(t.Context(), "name", backend.Range{Offset: offset, Length: length}, v)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			got, err := io.ReadAll(o.Body)
			if err != nil || !bytes.Equal(got, body[offset:offset+length]) || o.Size != size {
				t.Errorf("%s: %d bytes of %d, error %v", what, len(got), o.Size, err)
			}
			if err := o.Body.Close(); err != nil {
				t.Error(err)
			}
			asked := w.headersOf("GetObject", "Range")
			if want := fmt.Sprintf("bytes=%d-%d", offset, offset+length-1); len(asked) != 1 || asked[0] != want {
				t.Errorf("%s: asked for %q; want %q", what, asked, want)
			}
			if sent := w.take(); sent != "GetObject" || announced != length || received.Load() != length {
				t.Errorf("%s: sent were %s, the answer had %d bytes, of which %d were read; want one GetObject and %d bytes", what, sent, announced, received.Load(), length)
			}
		}
	})
}
