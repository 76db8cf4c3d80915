package storage_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/segment"
	"github.com/atrest/atrest/storage"
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
			for _, offset := range []int{0, 1<<20 - 41, 8<<20 - 3000} {
				for _, length := range []int{1, 5 << 20, len(plaintext)} {
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
