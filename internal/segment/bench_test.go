package segment

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"io"
	"testing"
)

const benchSize = 64 << 20

// BenchmarkBody compares encryption and decryption of 64 MiB with the bare
// AES-256-GCM of the standard library on one thread, over the same segments.
func BenchmarkBody(b *testing.B) {
	plaintext := make([]byte, benchSize)
	b.Run("raw-seal", func(b *testing.B) { benchRaw(b, plaintext, false) })
	b.Run("encrypt", func(b *testing.B) { benchEncrypt(b, plaintext, DefaultSize) })
	b.Run("raw-open", func(b *testing.B) { benchRaw(b, plaintext, true) })
	b.Run("decrypt", func(b *testing.B) { benchDecrypt(b, plaintext, DefaultSize) })
}

// BenchmarkSegmentSize is what DefaultSize was chosen by.
func BenchmarkSegmentSize(b *testing.B) {
	plaintext := make([]byte, benchSize)
	for _, size := range []int{4 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB/encrypt", size>>10), func(b *testing.B) { benchEncrypt(b, plaintext, size) })
		b.Run(fmt.Sprintf("%dKiB/decrypt", size>>10), func(b *testing.B) { benchDecrypt(b, plaintext, size) })
	}
}

func benchRaw(b *testing.B, plaintext []byte, open bool) {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		b.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		b.Fatal(err)
	}
	nonce := make([]byte, 12)
	buf := make([]byte, 0, DefaultSize)
	const room = DefaultSize - TagSize
	sealed := aead.Seal(nil, nonce, plaintext[:room], nil)
	b.SetBytes(int64(len(plaintext)))
	for b.Loop() {
		for at := 0; at < len(plaintext); at += room {
			if open {
				if _, err := aead.Open(buf, nonce, sealed, nil); err != nil {
					b.Fatal(err)
				}
			} else {
				aead.Seal(buf, nonce, plaintext[at:min(at+room, len(plaintext))], nil)
			}
		}
	}
}

func benchCipher(b *testing.B, size int) *Cipher {
	c, err := NewCipher(make([]byte, KeySize), NewPrefix(), "bench", size, NewPool(size))
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func benchEncrypt(b *testing.B, plaintext []byte, size int) {
	c := benchCipher(b, size)
	b.SetBytes(int64(len(plaintext)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Encrypt(bytes.NewReader(plaintext)).WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func benchDecrypt(b *testing.B, plaintext []byte, size int) {
	c := benchCipher(b, size)
	body, err := c.Seal(plaintext)
	if err != nil {
		b.Fatal(err)
	}
	span, err := NewSpan(0, -1, int64(len(body)), size)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(plaintext)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Decrypt(bytes.NewReader(body), span).WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
