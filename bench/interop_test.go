package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/internal/segment"
	"github.com/atrest/atrest/storage"
)

// edges are the plaintext sizes one below, at and above each segment's end.
func edges(size, segments int) []int {
	sizes := []int{0, 1}
	for i := 1; i <= segments; i++ {
		end := i*(size-segment.TagSize) - segment.PrefixSize
		sizes = append(sizes, end-1, end, end+1)
	}
	return sizes
}

// A writer makes bodies, and a reader opens them, in one of the ways that the
// library and Tink have.
type (
	writer func(key, plaintext []byte, size int) ([]byte, error)
	reader func(key, body []byte, size int) ([]byte, error)
)

var writers = map[string]writer{
	"Seal": sealOurs,
	"Encrypt": func(key, plaintext []byte, size int) ([]byte, error) {
		var body bytes.Buffer
		err := encryptOurs(&body, key, bytes.NewReader(plaintext), size, segment.NewPool(size))
		return body.Bytes(), err
	},
	"Tink": func(key, plaintext []byte, size int) ([]byte, error) {
		var body bytes.Buffer
		err := encryptTink(&body, key, source{plaintext, int64(len(plaintext))}, size)
		return body.Bytes(), err
	},
}

var readers = map[string]reader{
	"Open": openOurs,
	"Decrypt": func(key, body []byte, size int) ([]byte, error) {
		var plaintext bytes.Buffer
		err := decryptOurs(&plaintext, key, body, size, segment.NewPool(size))
		return plaintext.Bytes(), err
	},
	"Tink": func(key, body []byte, size int) ([]byte, error) {
		var plaintext bytes.Buffer
		err := decryptTink(&plaintext, key, bytes.NewReader(body), size)
		return plaintext.Bytes(), err
	},
}

// TestInterop: whatever any writer makes, every reader reads.
func TestInterop(t *testing.T) {
	key := noise(segment.KeySize)
	for _, size := range []int{segment.MinSize, 100, 256, 4096, segment.DefaultSize, 1 << 20} {
		for _, n := range edges(size, 3) {
			plaintext := noise(n)
			for by, write := range writers {
				body, err := write(key, plaintext, size)
				if err != nil {
					t.Fatalf("segment size %d, %d bytes: %s: %v", size, n, by, err)
				}
				if want, err := segment.SealedSize(int64(n), size); err != nil || int64(len(body)) != want {
					t.Errorf("segment size %d, %d bytes: %s makes %d, want %d (%v)", size, n, by, len(body), want, err)
				}
				for with, read := range readers {
					if got, err := read(key, body, size); err != nil || !bytes.Equal(got, plaintext) {
						t.Errorf("segment size %d, %d bytes: %s reads %d of %s: %v", size, n, with, len(got), by, err)
					}
				}
			}
		}
	}
}

// TestInteropDamage: nobody reads a body that was altered, be it by a bit, a
// cut, an extension, a swap, or another key. What is released before the error
// is a beginning of the plaintext.
func TestInteropDamage(t *testing.T) {
	const size = 100
	key := noise(segment.KeySize)
	plaintext := noise(3*(size-segment.TagSize) - segment.PrefixSize)
	for by, write := range writers {
		body, err := write(key, plaintext, size)
		if err != nil {
			t.Fatal(err)
		}
		for what, forged := range forgeries(body, size) {
			for with, read := range readers {
				checkRefused(t, fmt.Sprintf("%s of %s, %s", with, by, what), read, key, forged, plaintext)
			}
		}
		other := bytes.Clone(key)
		other[0] ^= 1
		for with, read := range readers {
			checkRefused(t, fmt.Sprintf("%s of %s, another key", with, by), read, other, body, nil)
			if _, err := read(key, body, size+1); err == nil {
				t.Errorf("%s of %s, another segment size: no error", with, by)
			}
		}
	}
}

// forgeries are altered copies of a body of three full segments.
func forgeries(body []byte, size int) map[string][]byte {
	forged := make(map[string][]byte)
	for i := range body {
		altered := bytes.Clone(body)
		altered[i] ^= 1 << (i % 8)
		forged[fmt.Sprintf("bit of byte %d flipped", i)] = altered
		forged[fmt.Sprintf("cut to %d", i)] = body[:i]
		forged[fmt.Sprintf("extended by %d", i+1)] = append(bytes.Clone(body), body[:i+1]...)
	}
	forged["segments swapped"] = append(append(bytes.Clone(body[:size]), body[2*size:]...), body[size:2*size]...)
	forged["segment left out"] = append(bytes.Clone(body[:size]), body[2*size:]...)
	return forged
}

func checkRefused(t *testing.T, what string, read reader, key, forged, plaintext []byte) {
	t.Helper()
	got, err := read(key, forged, 100)
	if err == nil {
		t.Errorf("%s: no error", what)
	}
	if !bytes.HasPrefix(plaintext, got) {
		t.Errorf("%s: released what was not sealed", what)
	}
}

// TestInteropEnvelope: Tink opens the body of an object that a Store put, given
// the data key that Vault unwraps.
func TestInteropEnvelope(t *testing.T) {
	vaultKeys, _, _ := newKeys(t)
	keys := &recorder{KeyWrapper: vaultKeys}
	blobs := memory.New()
	store := newStore(t, blobs, keys)
	for _, n := range append(edges(segment.DefaultSize, 2), 3<<20) {
		name, plaintext := fmt.Sprintf("object/%d", n), noise(n)
		// Without a Len method, every object takes the way of a stream.
		if _, err := store.Put(t.Context(), name, io.MultiReader(bytes.NewReader(plaintext)), nil); err != nil {
			t.Fatal(err)
		}
		checkEnvelope(t, keys, store, blobs, name, plaintext)
		if _, err := store.PutBytes(t.Context(), name, plaintext, nil); err != nil {
			t.Fatal(err)
		}
		checkEnvelope(t, keys, store, blobs, name, plaintext)
	}
}

// checkEnvelope reads an object with the store, which has Vault unwrap its data
// key, and then with Tink and that key. Then it puts in the body's place one that
// Tink makes under the same key, which is not the one that the header names.
func checkEnvelope(t *testing.T, keys *recorder, store *storage.Store, blobs backend.Blobs, name string, plaintext []byte) {
	t.Helper()
	if got, _, err := store.GetBytes(t.Context(), name); err != nil || !bytes.Equal(got, plaintext) {
		t.Fatalf("%s: Get: %d bytes, %v", name, len(got), err)
	}
	obj, err := blobs.Get(t.Context(), name, backend.All, "")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(obj.Body)
	if err != nil {
		t.Fatal(err)
	}
	obj.Body.Close()
	if got, err := readers["Tink"](keys.dataKey, body, segment.DefaultSize); err != nil || !bytes.Equal(got, plaintext) {
		t.Errorf("%s: Tink reads %d bytes, %v", name, len(got), err)
	}

	forged, err := writers["Tink"](keys.dataKey, plaintext, segment.DefaultSize)
	if err != nil {
		t.Fatal(err)
	}
	for what, body := range map[string][]byte{"Tink's body": forged, "a body cut short": body[:len(body)-1]} {
		if _, err := blobs.Put(t.Context(), name, obj.Header, bytes.NewReader(body), backend.Condition{}); err != nil {
			t.Fatal(err)
		}
		if got, _, err := store.GetBytes(t.Context(), name); !errors.Is(err, atrest.ErrTampered) || got != nil {
			t.Errorf("%s: %s is read, %d bytes, %v", name, what, len(got), err)
		}
	}
}
