package transit

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/vaultclient"
)

// keyInfo is what we need of the answer to reading MOUNT/keys/NAME. See
// pathPolicyRead in Vault's builtin/logical/transit/path_keys.go.
type keyInfo struct {
	Type                 string `json:"type"`
	Derived              bool   `json:"derived"`
	LatestVersion        uint32 `json:"latest_version"`
	SupportsEncryption   bool   `json:"supports_encryption"`
	SupportsDecryption   bool   `json:"supports_decryption"`
	Exportable           bool   `json:"exportable"`
	AllowPlaintextBackup bool   `json:"allow_plaintext_backup"`
	DeletionAllowed      bool   `json:"deletion_allowed"`
}

// check opens the key: it must be there, or be created, and be fit for use.
func (w *Wrapper) check(ctx context.Context, create bool) error {
	k, err := w.readKey(ctx)
	if create && errors.Is(err, atrest.ErrKeyNotFound) {
		if err := w.createKey(ctx); err != nil {
			return fmt.Errorf("creating the key: %w", err)
		}
		// Read what is really there: Vault answers alike when another creator
		// was faster, perhaps with a key that is not derived.
		k, err = w.readKey(ctx)
	}
	if err != nil {
		return err
	}
	w.warn(ctx, k)
	return k.fit()
}

// fit tells whether the key can be used.
func (k *keyInfo) fit() error {
	if !k.SupportsEncryption || !k.SupportsDecryption {
		return fmt.Errorf("%w: a transit key of type %s does not encrypt and decrypt; use one of type aes256-gcm96",
			atrest.ErrUnsupported, vaultclient.Redact(k.Type))
	}
	if !k.Derived {
		return fmt.Errorf("%w; derived=true can only be set when a key is created, so use a new one", atrest.ErrKeyNotDerived)
	}
	return nil
}

// warn logs the ways in which the transit key may be lost or get out of Vault.
func (w *Wrapper) warn(ctx context.Context, k *keyInfo) {
	for _, x := range []struct {
		set  bool
		what string
	}{
		{k.Exportable, "transit key is exportable: who may export it can decrypt without Vault"},
		{k.AllowPlaintextBackup, "transit key allows plaintext backup: who may back it up can decrypt without Vault"},
		{k.DeletionAllowed, "transit key may be deleted: everything wrapped under it would be lost"},
	} {
		if x.set {
			w.log.WarnContext(ctx, x.what, "mount", w.mount, "key", w.key)
		}
	}
}

func (w *Wrapper) readKey(ctx context.Context) (*keyInfo, error) {
	k, err := ask[keyInfo](ctx, w.vault, vaultclient.Request{
		Method: http.MethodGet, Path: w.mount + "/keys/" + w.key, Capability: "read",
	})
	if err != nil {
		return nil, err
	}
	if k == nil || k.LatestVersion == 0 || k.Type == "" {
		return nil, vaultclient.Garbage("no key in the answer")
	}
	return k, nil
}

// createKey may be repeated: Vault leaves an existing key as it is.
func (w *Wrapper) createKey(ctx context.Context) error {
	_, err := ask[keyInfo](ctx, w.vault, vaultclient.Request{
		Method: http.MethodPut, Path: w.mount + "/keys/" + w.key, Capability: "create and update",
		Body: vaultclient.RawBody([]byte(`{"type":"aes256-gcm96","derived":true}`)),
	})
	return err
}

func (w *Wrapper) rotateKey(ctx context.Context) error {
	_, err := ask[keyInfo](ctx, w.vault, vaultclient.Request{
		Method: http.MethodPut, Path: w.mount + "/keys/" + w.key + "/rotate", Capability: "update",
		Body: vaultclient.RawBody([]byte(`{}`)), Once: true,
	})
	return err
}
