package bench

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"io"
	"testing"

	"github.com/atrest/atrest/internal/segment"
)

const (
	bodySize = 64 << 20

	// info is what the store derives its body keys with (docs/format.md).
	info = "atrest body v1"
)

// perBody is the rate of what handles one plaintext of bodySize.
var perBody = rate{bodySize / 1e9, "GB/s"}

// BenchmarkBody compares a stream of 64 MiB with Tink's, and with the bare
// AES-256-GCM of the standard library on one thread over the same segments. All
// three read the same bytes in memory and drop what they make. The bare cipher
// is spared the copying of a source.
//
// Ours needs the second core, which other processes may have taken. How many
// cores those had on average is reported as "elsewhere".
func BenchmarkBody(b *testing.B) {
	key, plaintext := noise(segment.KeySize), noise(bodySize)
	const size = segment.DefaultSize
	pool := segment.NewPool(size)
	sealed, err := sealOurs(key, plaintext, size)
	if err != nil {
		b.Fatal(err)
	}
	raw := newRaw(b, plaintext, size)
	b.Run("encrypt", func(b *testing.B) {
		defer reportElsewhere(b)()
		compare(b, perBody,
			contender{name: "ours", run: func() error { return encryptOurs(io.Discard, key, bytes.NewReader(plaintext), size, pool) }},
			contender{name: "raw", run: raw.seal},
			contender{name: "tink", run: func() error { return encryptTink(io.Discard, key, plaintext, size) }},
		)
	})
	b.Run("decrypt", func(b *testing.B) {
		defer reportElsewhere(b)()
		compare(b, perBody,
			contender{name: "ours", run: func() error { return decryptOurs(io.Discard, key, sealed, size, pool) }},
			contender{name: "raw", run: raw.open},
			contender{name: "tink", run: func() error { return decryptTink(io.Discard, key, bytes.NewReader(sealed), size) }},
		)
	})
}

// BenchmarkSegmentSize is what segment.DefaultSize was chosen by: bodies of
// the default size beside those of other sizes.
func BenchmarkSegmentSize(b *testing.B) {
	key, plaintext := noise(segment.KeySize), noise(bodySize)
	sizes := []int{segment.DefaultSize, 4 << 10, 16 << 10, 32 << 10, 128 << 10, 256 << 10, 1 << 20}
	var encrypt, decrypt []contender
	for _, size := range sizes {
		pool := segment.NewPool(size)
		sealed, err := sealOurs(key, plaintext, size)
		if err != nil {
			b.Fatal(err)
		}
		name := fmt.Sprintf("%dKiB", size>>10)
		encrypt = append(encrypt, contender{name: name, run: func() error {
			return encryptOurs(io.Discard, key, bytes.NewReader(plaintext), size, pool)
		}})
		decrypt = append(decrypt, contender{name: name, run: func() error { return decryptOurs(io.Discard, key, sealed, size, pool) }})
	}
	b.Run("encrypt", func(b *testing.B) {
		defer reportElsewhere(b)()
		compare(b, perBody, encrypt...)
	})
	b.Run("decrypt", func(b *testing.B) {
		defer reportElsewhere(b)()
		compare(b, perBody, decrypt...)
	})
}

// raw is the work that no scheme can do without: AES-256-GCM over segments that
// hold as much plaintext as ours, from memory into one small buffer.
type raw struct {
	aead      cipher.AEAD
	plaintext []byte
	sealed    []byte // all segments, one after the other
	room      int    // of a segment, in bytes of plaintext
	buf       []byte
	nonce     []byte
}

func newRaw(b *testing.B, plaintext []byte, size int) *raw {
	block, err := aes.NewCipher(noise(segment.KeySize))
	if err != nil {
		b.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		b.Fatal(err)
	}
	r := &raw{
		aead: aead, plaintext: plaintext, room: size - segment.TagSize,
		buf: make([]byte, 0, size), nonce: make([]byte, aead.NonceSize()),
	}
	for at := 0; at < len(plaintext); at += r.room {
		r.sealed = aead.Seal(r.sealed, r.nonce, plaintext[at:min(at+r.room, len(plaintext))], nil)
	}
	return r
}

func (r *raw) seal() error {
	for at := 0; at < len(r.plaintext); at += r.room {
		r.aead.Seal(r.buf, r.nonce, r.plaintext[at:min(at+r.room, len(r.plaintext))], nil)
	}
	return nil
}

func (r *raw) open() error {
	size := r.room + segment.TagSize
	for at := 0; at < len(r.sealed); at += size {
		if _, err := r.aead.Open(r.buf, r.nonce, r.sealed[at:min(at+size, len(r.sealed))], nil); err != nil {
			return err
		}
	}
	return nil
}
