// Package segment encrypts bodies: streams of any length, cut into segments
// that each stand alone, so that they can be sealed and opened on all cores and
// any range can be read without the rest.
//
// The bytes are those of Tink's AES-GCM-HKDF streaming AEAD with a 32-byte key
// and HKDF-SHA256 (https://developers.google.com/tink/streaming-aead/aes_gcm_hkdf_streaming),
// the scheme of Hoang, Reyhanitabar, Rogaway and Vizár, "Online
// Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015.
// docs/format.md has them byte by byte.
//
// An [Encrypter] is pulled: it reads plaintext from a source and is itself a
// reader of ciphertext, which is what backends consume. A [Decrypter] is the
// same the other way round.
package segment

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/atrest/atrest"
)

const (
	// KeySize is the length in bytes of a data key.
	KeySize = 32

	// PrefixSize is the length in bytes of what precedes the first segment:
	// its own length in one byte, the salt, and the nonce prefix.
	PrefixSize = 1 + saltSize + noncePrefixSize

	// TagSize is by how many bytes a segment grows when it is sealed.
	TagSize = 16

	// MinSize and MaxSize bound the segment size in bytes. The least leaves
	// room for plaintext beside the prefix; the most bounds the memory that a
	// reader spends on what a stranger wrote.
	MinSize = 64
	MaxSize = 16 << 20

	// DefaultSize is the segment size in bytes for new objects. Measured on two
	// cores (docs/benchmarks.md): 4 KiB is about a tenth slower, from 16 KiB to
	// 256 KiB there is no difference to speak of, and 1 MiB is a few percent
	// faster. So it is not speed that decides: a ranged read fetches whole
	// segments, an object of one segment needs no stream, and 16 bytes of tag in
	// 64 KiB are nothing.
	DefaultSize = 64 << 10

	saltSize        = 32
	noncePrefixSize = 7
	nonceSize       = noncePrefixSize + 4 + 1

	// maxSegments is how many a 32-bit index can number.
	maxSegments = 1 << 32
)

// A Prefix is what a body begins with: 0x28, 32 bytes of salt and 7 bytes of
// nonce prefix.
type Prefix [PrefixSize]byte

// NewPrefix returns a Prefix with a random salt and nonce prefix.
func NewPrefix() Prefix {
	var p Prefix
	p[0] = PrefixSize
	rand.Read(p[1:]) // never fails: it would end the program
	return p
}

// A Cipher seals and opens the segments of one body. It may be used
// concurrently.
type Cipher struct {
	aead   cipher.AEAD
	prefix Prefix
	size   int // of a sealed segment, in bytes
	pool   *Pool
}

// NewCipher returns the Cipher for a body that begins with prefix, whose
// segment key is derived from the 32 bytes of dataKey with info, and whose
// sealed segments are segmentSize bytes long. Buffers come from pool.
//
// It does not keep dataKey. A prefix that no writer produces is ErrTampered.
func NewCipher(dataKey []byte, prefix Prefix, info string, segmentSize int, pool *Pool) (*Cipher, error) {
	key, err := DeriveKey(dataKey, prefix, info)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return KeyedCipher(key, prefix, segmentSize, pool)
}

// DeriveKey returns the segment key, of 32 bytes, of which [KeyedCipher] makes the Cipher
// that [NewCipher] returns. The caller wipes it.
func DeriveKey(dataKey []byte, prefix Prefix, info string) ([]byte, error) {
	if len(dataKey) != KeySize {
		return nil, errors.New("segment: a data key is 32 bytes long")
	}
	key, err := hkdf.Key(sha256.New, dataKey, prefix[1:1+saltSize], info, KeySize)
	if err != nil {
		return nil, fmt.Errorf("segment: derive body key: %w", err)
	}
	return key, nil
}

// KeyedCipher is [NewCipher] for a key that [DeriveKey] has returned for the same prefix. It
// does not keep it.
func KeyedCipher(key []byte, prefix Prefix, segmentSize int, pool *Pool) (*Cipher, error) {
	if len(key) != KeySize {
		return nil, errors.New("segment: a segment key is 32 bytes long")
	}
	if segmentSize < MinSize || segmentSize > MaxSize {
		return nil, fmt.Errorf("segment: segment size %d is not within %d to %d", segmentSize, MinSize, MaxSize)
	}
	if prefix[0] != PrefixSize {
		return nil, atrest.ErrTampered
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	return &Cipher{aead: aead, prefix: prefix, size: segmentSize, pool: pool}, nil
}

// plain is how many bytes of plaintext a full segment other than the first
// holds.
func (c *Cipher) plain() int { return c.size - TagSize }

// SealedSize returns the length of the body for a plaintext of n bytes, or
// ErrTooLarge where it would need more than 2³² segments.
func (c *Cipher) SealedSize(n int64) (int64, error) {
	return SealedSize(n, c.size)
}

// SealedSize is [Cipher.SealedSize] for a segment size.
func SealedSize(n int64, segmentSize int) (int64, error) {
	if n < 0 || n > math.MaxInt64/2 {
		return 0, fmt.Errorf("%w: %d bytes", atrest.ErrTooLarge, n)
	}
	segments := segmentAt(max(n-1, 0), segmentSize) + 1
	if segments > maxSegments {
		return 0, fmt.Errorf("%w: %d bytes need more than 2^32 segments", atrest.ErrTooLarge, n)
	}
	return n + PrefixSize + segments*TagSize, nil
}

// PlainSize returns the length of the plaintext of a body of n bytes, or
// ErrTampered if no body is that long. It is a claim: only the last segment,
// opened as the last, makes it true.
func PlainSize(n int64, segmentSize int) (int64, error) {
	size := int64(segmentSize)
	segments := segmentsOf(n, segmentSize)
	plain := n - PrefixSize - segments*TagSize
	switch {
	case plain < 0, segments > maxSegments:
		return 0, atrest.ErrTampered
	case segments > 1 && n-(segments-1)*size <= TagSize: // an empty last segment
		return 0, atrest.ErrTampered
	}
	return plain, nil
}

// segmentsOf returns how many segments a body of n bytes has.
func segmentsOf(n int64, segmentSize int) int64 {
	return n/int64(segmentSize) + min(n%int64(segmentSize), 1)
}

// segmentAt returns the number of the segment that holds byte x of the
// plaintext.
func segmentAt(x int64, segmentSize int) int64 {
	return (x + PrefixSize) / int64(segmentSize-TagSize)
}

// A nonce is kept where its user lives, since passing a local one to the AEAD
// would allocate it anew for each segment.
type nonce [nonceSize]byte

func (c *Cipher) setNonce(n *nonce, index int64, last bool) {
	copy(n[:], c.prefix[1+saltSize:])
	binary.BigEndian.PutUint32(n[noncePrefixSize:], uint32(index))
	n[nonceSize-1] = 0
	if last {
		n[nonceSize-1] = 1
	}
}
