package transit

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/vaultclient"
)

// refusal returns the error for an error answer of Vault's that says that the key
// is missing, or nil for another. The texts are those of Vault 1.13 and of OpenBao.
func refusal(status int, text string) error {
	switch status {
	case http.StatusNotFound:
		if strings.Contains(text, "no handler for route") {
			return fmt.Errorf("%w: there is no secrets engine at that mount: enable transit there (vault secrets enable), or set Config.Mount",
				atrest.ErrKeyNotFound)
		}
		return notFound()
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		// encrypt, decrypt, rewrap: "encryption key not found"; rotate: "key
		// not found". For neverCreate, see there.
		if strings.HasSuffix(text, "key not found") || strings.HasSuffix(text, "unknown key type "+neverCreate) {
			return notFound()
		}
	}
	return nil
}

func notFound() error {
	return fmt.Errorf("%w: create it with derived=true, or set Config.CreateKey, or check the name", atrest.ErrKeyNotFound)
}

// itemError sorts the error of one item of a batch. The texts are those of
// DecryptWithFactory in Vault's sdk/helper/keysutil/policy.go.
func itemError(text string) error {
	has := func(s string) bool { return strings.Contains(text, s) }
	switch {
	case has("disallowed by policy (too old)"):
		return atrest.ErrKeyVersionTooOld
	case has("version is too new"):
		return fmt.Errorf("%w (its version of the transit key is newer than any that Vault has: has the transit key been restored from an older backup?)",
			atrest.ErrTampered)
	case has("message authentication failed"), // crypto/cipher, x/crypto/chacha20poly1305
		has("invalid ciphertext"): // no prefix, bad version, bad base64, too short
		return atrest.ErrTampered
	}
	return fmt.Errorf("refused by Vault: %s", vaultclient.Redact(text))
}
