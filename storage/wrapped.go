package storage

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
)

// vaultPrefix begins every ciphertext of the transit engine
// (https://developer.hashicorp.com/vault/api-docs/secret/transit).
const vaultPrefix = "vault:v"

// wrappedKey is Vault's text "vault:vN:BASE64" taken apart. The parts are what
// a header holds, because the text is malleable: base64 decoders, Vault's among
// them, take several texts for the same bytes.
type wrappedKey struct {
	version    uint32
	ciphertext []byte
}

func (w wrappedKey) valid() bool {
	return w.version >= 1 && w.version <= maxKeyVersion && len(w.ciphertext) >= minWrapped && len(w.ciphertext) <= maxWrapped
}

// text returns what Vault takes.
func (w wrappedKey) text() string {
	return vaultPrefix + strconv.FormatUint(uint64(w.version), 10) + ":" + base64.StdEncoding.EncodeToString(w.ciphertext)
}

// parseWrapped is the inverse of text and accepts nothing else.
func parseWrapped(text string) (wrappedKey, error) {
	rest, ok := strings.CutPrefix(text, vaultPrefix)
	number, encoded, found := strings.Cut(rest, ":")
	if !ok || !found || len(encoded) > base64.StdEncoding.EncodedLen(maxWrapped) {
		return wrappedKey{}, errWrapped()
	}
	version, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return wrappedKey{}, errWrapped()
	}
	ciphertext, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return wrappedKey{}, errWrapped()
	}
	w := wrappedKey{uint32(version), ciphertext}
	if !w.valid() || w.text() != text {
		return wrappedKey{}, errWrapped()
	}
	return w, nil
}

func errWrapped() error { return errors.New("key wrapper returned a malformed wrapped key") }
