package seal

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// Sizes of both formats, in bytes.
const (
	keySize  = chacha20poly1305.KeySize // of an instance key too
	saltSize = 16                       // RFC 9106, section 3.1, recommends 16 for Argon2
	tagSize  = chacha20poly1305.Overhead
)

type (
	salt  [saltSize]byte
	nonce [chacha20poly1305.NonceSizeX]byte // long enough to be random
)

func newSalt() (s salt) {
	rand.Read(s[:]) // never fails: it would end the program
	return s
}

func newNonce() (n nonce) {
	rand.Read(n[:])
	return n
}

// newAEAD returns XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) under the key
// that HKDF-SHA256 (RFC 5869) derives.
func newAEAD(key []byte, s salt, info string) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, key, s[:], info, keySize)
	if err != nil {
		return nil, fmt.Errorf("seal: derive key: %w", err)
	}
	defer wipe(derived)
	aead, err := chacha20poly1305.NewX(derived)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return aead, nil
}
