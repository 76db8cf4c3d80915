package storage_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/s3"
	"github.com/atrest/atrest/internal/devs3"
	"github.com/atrest/atrest/internal/faultproxy"
	"github.com/atrest/atrest/internal/segment"
	"github.com/atrest/atrest/storage"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestLargeRanges reads ranges of a body of several chunks on each backend, from places
// around the ends of chunks, whose segments are opened where they arrive.
func TestLargeRanges(t *testing.T) {
	onEach(t, func(t *testing.T, blobs backend.Blobs) {
		plaintext := noise(20<<20 + 123)
		for _, size := range []int{segment.DefaultSize, 100_000} {
			s := newStore(t, storage.Config{Backend: blobs, SegmentSize: size})
			name := fmt.Sprint(size)
			mustPut(t, s, name, plaintext)
			for _, offset := range []int{0, 1, 1<<20 - 41, 1 << 20, 8<<20 - 3000, 17<<20 + 5} {
				for _, length := range []int{1, 100_000, 5 << 20, len(plaintext)} {
					want := plaintext[offset:min(offset+length, len(plaintext))]
					r, err := s.GetRange(t.Context(), name, int64(offset), int64(length))
					if err != nil {
						t.Fatal(err)
					}
					var got bytes.Buffer
					_, err = r.WriteTo(&got)
					r.Close()
					if err != nil || !bytes.Equal(got.Bytes(), want) {
						t.Errorf("%d bytes from %d in segments of %d: %d came, %v", length, offset, size, got.Len(), err)
					}
				}
			}
		}
	})
}

// TestLargeTampered alters a byte in the midst of a body: what comes before it is
// right, and then comes ErrTampered.
func TestLargeTampered(t *testing.T) {
	onEach(t, func(t *testing.T, blobs backend.Blobs) {
		plaintext := noise(20 << 20)
		s := newStore(t, storage.Config{Backend: blobs})
		mustPut(t, s, "n", plaintext)
		header, body := rawGet(t, blobs, "n")
		const at = 13<<20 + 7
		body[at] ^= 1
		if _, err := blobs.Put(t.Context(), "n", header, bytes.NewReader(body), backend.Condition{}); err != nil {
			t.Fatal(err)
		}
		r, err := s.Get(t.Context(), "n")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var got bytes.Buffer
		_, err = r.WriteTo(&got)
		wantError(t, err, atrest.ErrTampered)
		if !bytes.HasPrefix(plaintext, got.Bytes()) || got.Len() > at || got.Len() < at-1<<20 {
			t.Errorf("%d bytes were handed out, of which not all are right", got.Len())
		}
	})
}

// A rangeCounter is an HTTP client that notes the longest range that was asked for.
type rangeCounter struct {
	awss3.HTTPClient
	longest atomic.Int64
}

func (c *rangeCounter) Do(r *http.Request) (*http.Response, error) {
	var first, last int64
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); err == nil && last-first+1 > c.longest.Load() {
		c.longest.Store(last - first + 1)
	}
	return c.HTTPClient.Do(r)
}

// TestSlowConsumer reads from S3 more slowly than it comes. Two chunks then come by
// one request, and of one that is cut anywhere the rest is fetched again.
func TestSlowConsumer(t *testing.T) {
	const chunk = 8 << 20 // of backend/s3
	for _, kind := range devs3.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			server := objectStores[kind].get(t)
			proxy := faultproxy.New(t, strings.TrimPrefix(server.Endpoint(), "http://"))
			options := server.ClientAt("http://" + proxy.Addr()).Options()
			counter := &rangeCounter{HTTPClient: options.HTTPClient}
			options.HTTPClient = counter
			blobs, err := s3.New(t.Context(), s3.Config{
				Client: awss3.New(options), Bucket: server.bucket, Prefix: "test-" + strings.ToLower(rand.Text()[:12]) + "/",
				SoleWriter: kind == devs3.MinIO,
			})
			if err != nil {
				t.Fatal(err)
			}
			plaintext := noise(9*chunk + 1000)
			s := newStore(t, storage.Config{Backend: blobs})
			mustPut(t, s, "n", plaintext)
			for _, after := range []int64{chunk + chunk/2, chunk + 3*chunk/2, 2*chunk + chunk/2} {
				counter.longest.Store(0)
				proxy.CloseAll() // so that bytes are counted from the first request on
				proxy.Set(faultproxy.Once(faultproxy.Cut(faultproxy.Down, after)))
				r, err := s.Get(t.Context(), "n")
				if err != nil {
					t.Fatal(err)
				}
				var got bytes.Buffer
				for err == nil {
					_, err = io.CopyN(&got, r, chunk/2)
					time.Sleep(100 * time.Millisecond)
				}
				r.Close()
				if err != io.EOF || !bytes.Equal(got.Bytes(), plaintext) {
					t.Errorf("cut after %d bytes: %d came, %v", after, got.Len(), err)
				}
				if proxy.Strikes() != 1 || counter.longest.Load() != 2*chunk {
					t.Errorf("cut after %d bytes: %d times, and the longest range is of %d bytes", after, proxy.Strikes(), counter.longest.Load())
				}
				proxy.Clear()
			}
		})
	}
}
