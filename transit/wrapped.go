package transit

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
)

const (
	wrappedPrefix = "vault:v"

	// maxWrapped bounds a wrapped key, in bytes. A wrapped 32-byte key takes
	// 89 at version 1.
	maxWrapped = 1024

	// minSealed is the nonce and the tag of AES-GCM or ChaCha20-Poly1305, the
	// ciphers of a derived key, and one byte of plaintext.
	minSealed = 12 + 16 + 1
)

var errMalformed = errors.New(`not of the form "vault:vN:BASE64"`)

// parseWrapped checks that s is exactly what Vault's encrypt returns, and
// returns the version of the transit key. It accepts one spelling only:
// a decimal version from 1 without leading zeros, and canonical, padded
// base64. See EncryptWithFactory in Vault's sdk/helper/keysutil/policy.go.
func parseWrapped(s string) (version uint32, err error) {
	rest, ok := strings.CutPrefix(s, wrappedPrefix)
	if !ok || len(s) > maxWrapped {
		return 0, errMalformed
	}
	number, sealed, ok := strings.Cut(rest, ":")
	if !ok {
		return 0, errMalformed
	}
	if version, err = parseVersion(number); err != nil {
		return 0, err
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(sealed)
	// The decoder skips newlines, even when it is strict: compare the lengths.
	if err != nil || base64.StdEncoding.EncodedLen(len(raw)) != len(sealed) || len(raw) < minSealed {
		return 0, errMalformed
	}
	return version, nil
}

// parseVersion accepts [1-9][0-9]*, up to 2³²-1.
func parseVersion(s string) (uint32, error) {
	if s == "" || s[0] < '1' || s[0] > '9' {
		return 0, errMalformed // ParseUint would accept 0 and 01
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, errMalformed
	}
	return uint32(n), nil
}
