package storage_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/storage"
)

// checkTampered reads the object in every way there is. Each way must fail with
// ErrTampered, or hand out nothing but what was put.
func checkTampered(t *testing.T, s *storage.Store, what, name string, content []byte) {
	t.Helper()
	failed := false
	try := func(way string, offset, length int64) {
		r, err := s.GetRange(t.Context(), name, offset, length)
		var got []byte
		if err == nil {
			got, err = io.ReadAll(r)
			r.Close()
		}
		want := content[min(offset, int64(len(content))):]
		if length >= 0 {
			want = want[:min(length, int64(len(want)))]
		}
		switch {
		case err == nil && bytes.Equal(got, want): // it did not touch the damage
			if way == "all" {
				t.Errorf("%s: the whole object is read without an error", what)
			}
		case err == nil:
			t.Errorf("%s: %s: %d bytes come out, not the %d that were put", what, way, len(got), len(want))
		case !errors.Is(err, atrest.ErrTampered):
			t.Errorf("%s: %s: %v, want ErrTampered", what, way, err)
		case !bytes.HasPrefix(want, got):
			t.Errorf("%s: %s: released bytes that were not put there", what, way)
		default:
			failed = true
		}
	}
	try("all", 0, -1)
	try("first byte", 0, 1)
	try("past the end", int64(len(content))-1, 10)
	try("beyond", int64(len(content))+10, 10)
	if got, _, err := s.GetBytes(t.Context(), name); !errors.Is(err, atrest.ErrTampered) || got != nil {
		t.Errorf("%s: GetBytes: %d bytes, %v", what, len(got), err)
	}
	if !failed {
		t.Errorf("%s: nothing failed", what)
	}
}

// tamperStore has an object of three segments with metadata.
func tamperStore(t *testing.T) (s *storage.Store, blobs *memory.Store, content, header, body []byte) {
	blobs = memory.New()
	s = newStore(t, storage.Config{Backend: blobs, SegmentSize: 64})
	content = noise(80)
	if _, err := s.PutBytes(t.Context(), "n", content, &storage.PutOptions{Metadata: storage.Metadata{"k": "v"}}); err != nil {
		t.Fatal(err)
	}
	header, body = rawGet(t, blobs, "n")
	return s, blobs, content, header, body
}

func TestHeaderBits(t *testing.T) {
	s, blobs, content, header, body := tamperStore(t)
	for i := range header {
		for bit := range 8 {
			forged := bytes.Clone(header)
			forged[i] ^= 1 << bit
			rawPut(t, blobs, "n", forged, body)
			what := fmt.Sprintf("header byte %d, bit %d", i, bit)
			if _, err := s.Stat(t.Context(), "n"); !errors.Is(err, atrest.ErrTampered) {
				t.Errorf("%s: Stat: %v", what, err)
			}
			if bit != i%8 {
				continue // each way to read takes a call to Vault
			}
			checkTampered(t, s, what, "n", content)
			if _, err := s.Copy(t.Context(), "m", "n", nil); !errors.Is(err, atrest.ErrTampered) {
				t.Errorf("%s: Copy: %v", what, err)
			}
		}
	}
}

func TestHeaderLength(t *testing.T) {
	s, blobs, content, header, body := tamperStore(t)
	for n := range header {
		rawPut(t, blobs, "n", header[:n], body)
		checkTampered(t, s, fmt.Sprintf("header cut to %d", n), "n", content)
	}
	for _, n := range []int{1, 2, 100, backend.MaxHeader - len(header)} {
		rawPut(t, blobs, "n", append(bytes.Clone(header), make([]byte, n)...), body)
		checkTampered(t, s, fmt.Sprintf("header extended by %d", n), "n", content)
	}
}

func TestBodyBits(t *testing.T) {
	s, blobs, content, header, body := tamperStore(t)
	for i := range body {
		for bit := range 8 {
			forged := bytes.Clone(body)
			forged[i] ^= 1 << bit
			rawPut(t, blobs, "n", header, forged)
			checkTampered(t, s, fmt.Sprintf("body byte %d, bit %d", i, bit), "n", content)
		}
	}
}

func TestBodyLengthAndOrder(t *testing.T) {
	s, blobs, content, header, body := tamperStore(t)
	for n := range body {
		rawPut(t, blobs, "n", header, body[:n])
		checkTampered(t, s, fmt.Sprintf("body cut to %d", n), "n", content)
	}
	for n := 1; n <= 130; n++ {
		rawPut(t, blobs, "n", header, append(bytes.Clone(body), body[:min(n, len(body))]...))
		checkTampered(t, s, fmt.Sprintf("body extended by %d", n), "n", content)
	}
	swapped := bytes.Join([][]byte{body[:64], body[128:], body[64:128]}, nil)
	rawPut(t, blobs, "n", header, swapped)
	checkTampered(t, s, "segments swapped", "n", content)
}

// TestPlacedElsewhere moves what is genuine to where it does not belong.
func TestPlacedElsewhere(t *testing.T) {
	onEach(t, func(t *testing.T, blobs backend.Blobs) {
		keys := newKeys(t, vault)
		s := newStore(t, storage.Config{Backend: blobs, Keys: keys, SegmentSize: 64})
		a, b := noise(200), bytes.Repeat([]byte("b"), 200)
		mustPut(t, s, "a", a)
		mustPut(t, s, "b", b)
		headerA, bodyA := rawGet(t, blobs, "a")
		headerB, bodyB := rawGet(t, blobs, "b")

		rawPut(t, blobs, "c", headerA, bodyA)
		checkTampered(t, s, "another name", "c", a)
		rawPut(t, blobs, "a", headerB, bodyB)
		checkTampered(t, s, "another object in its place", "a", a)
		rawPut(t, blobs, "a", headerA, bodyB)
		checkTampered(t, s, "another object's body", "a", a)
		rawPut(t, blobs, "a", headerA, append(bytes.Clone(bodyA[:64]), bodyB[64:]...))
		checkTampered(t, s, "another object's segments", "a", a)
		rawPut(t, blobs, "a", headerA, append(bytes.Clone(bodyA[:128]), bodyA[64:]...))
		checkTampered(t, s, "a segment twice", "a", a)

		rawPut(t, blobs, "a", headerA, bodyA)
		wantContent(t, s, "a", a)
		other := newStore(t, storage.Config{ID: "other", Backend: blobs, Keys: keys, SegmentSize: 64})
		checkTampered(t, other, "another store", "a", a)
		otherKey := newStore(t, storage.Config{Backend: blobs, SegmentSize: 64})
		checkTampered(t, otherKey, "another key", "a", a)
	})
}

// TestRewrappedOldHeader: a header from before a rewrap still opens its own
// body, which is no forgery, but not a body that was put later.
func TestOldHeaderNewBody(t *testing.T) {
	blobs := memory.New()
	s := newStore(t, storage.Config{Backend: blobs})
	mustPut(t, s, "n", []byte("first"))
	oldHeader, _ := rawGet(t, blobs, "n")
	mustPut(t, s, "n", []byte("other"))
	_, newBody := rawGet(t, blobs, "n")
	rawPut(t, blobs, "n", oldHeader, newBody)
	checkTampered(t, s, "old header", "n", []byte("other"))
}
