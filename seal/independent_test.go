package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"runtime"
	"testing"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
)

// The functions of this file are a second implementation of docs/seal.md, from
// the primitives up. They use nothing of the package.

func argon2idOf(password, salt []byte, passes, memory uint32, lanes uint8) []byte {
	return argon2.IDKey(password, salt, passes, memory, lanes, 32)
}

// hkdfOf is RFC 5869 with SHA-256, for one block of output.
func hkdfOf(secret, salt []byte, info string) []byte {
	extract := hmac.New(sha256.New, salt)
	extract.Write(secret)
	expand := hmac.New(sha256.New, extract.Sum(nil))
	expand.Write([]byte(info))
	expand.Write([]byte{1})
	return expand.Sum(nil)
}

// lineOf seals plaintext behind a prefix that ends before the salt.
func lineOf(t *testing.T, prefix string, key, salt, nonce, plaintext []byte) string {
	t.Helper()
	b64 := base64.RawStdEncoding.EncodeToString
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		t.Fatal(err)
	}
	line := prefix + b64(salt) + "$" + b64(nonce) + "$"
	return line + b64(aead.Seal(nil, nonce, plaintext, []byte(line))) + "\n"
}

// allocated is how many bytes were allocated meanwhile, by anyone.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
