package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/vaultclient"
)

// initTimeout is how long Vault may take to initialise itself: far longer than it
// ever should, because giving up on the answer means giving up the keys in it.
const initTimeout = 5 * time.Minute

// sealStatus is the answer of sys/seal-status, which takes no token.
type sealStatus struct {
	Initialized  bool   `json:"initialized"`
	Sealed       bool   `json:"sealed"`
	Threshold    int    `json:"t"`
	Shares       int    `json:"n"`
	Progress     int    `json:"progress"`
	Nonce        string `json:"nonce"`
	Version      string `json:"version"`
	Migration    bool   `json:"migration"`
	RecoverySeal bool   `json:"recovery_seal"`
	ClusterID    string `json:"cluster_id"`
}

func (m *Manager) sealStatus(ctx context.Context) (*sealStatus, error) {
	s, _, err := vaultclient.Do[sealStatus](ctx, m.anonymous, vaultclient.Request{Method: http.MethodGet, Path: "sys/seal-status"})
	if err != nil {
		return nil, fmt.Errorf("reading the state of Vault: %w", err)
	}
	if s == nil {
		return nil, fmt.Errorf("reading the state of Vault: %w: an empty answer", atrest.ErrVaultUnavailable)
	}
	if s.RecoverySeal {
		return nil, fmt.Errorf("%w: this Vault unseals itself by a key of its own (auto-unseal), so that there is no unseal key to keep; use it as an external Vault", atrest.ErrUnsupported)
	}
	return s, nil
}

// switchedOff tells that Vault has no such endpoint without a token: OpenBao answers 405
// since 2.5 unless its listener allows it, and later versions of Vault 403.
func switchedOff(status int) error {
	if status == http.StatusMethodNotAllowed || status == http.StatusForbidden {
		return fmt.Errorf("%w: this Vault has its endpoints for generate-root and rekey switched off, which take the unseal key instead of a token; "+
			"allow them: in OpenBao, disable_unauthed_generate_root_endpoints = false and disable_unauthed_rekey_endpoints = false in its listener; in Vault, enable_unauthenticated_access = [\"generate-root\", \"rekey\"]",
			atrest.ErrUnsupported)
	}
	return nil
}

// initAnswer is the answer of sys/init, which is given once and never again.
type initAnswer struct {
	Keys      []vaultclient.Base64Bytes `json:"keys_base64"`
	RootToken vaultclient.TextBytes     `json:"root_token"`
}

func (a *initAnswer) wipe() {
	for _, key := range a.Keys {
		wipe(key)
	}
	wipe(a.RootToken)
}

// unsealKeys returns a copy of the keys.
func (a *initAnswer) unsealKeys(threshold int) *unsealKeys {
	keys := &unsealKeys{threshold: threshold}
	for _, share := range a.Keys {
		keys.shares = append(keys.shares, newSecret(bytes.Clone(share)))
	}
	return keys
}

// errAlreadyInitialized is what Vault says to a second sys/init.
var errAlreadyInitialized = errors.New("vault is already initialised")

// sysInit initialises Vault. It is sent once: whoever repeats it after its answer was
// lost only learns that the keys are lost. Vault carries it out to the end even if
// we hang up, so nothing but the time limit makes us do so.
func (m *Manager) sysInit(ctx context.Context) (*initAnswer, error) {
	body, err := vaultclient.Body(map[string]int{"secret_shares": m.cfg.Shares, "secret_threshold": m.cfg.Threshold})
	if err != nil {
		return nil, err
	}
	a, _, err := vaultclient.Do[initAnswer](context.WithoutCancel(ctx), m.anonymous, vaultclient.Request{
		Method: http.MethodPut, Path: "sys/init", Body: body, Once: true, Timeout: initTimeout,
		Refused: func(status int, text string) error {
			if status == http.StatusBadRequest && isAlreadyInitialized(text) {
				return errAlreadyInitialized
			}
			return nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("initialising Vault: %w", err)
	}
	if a == nil || len(a.Keys) != m.cfg.Shares || len(a.RootToken) == 0 {
		return nil, fmt.Errorf("initialising Vault: %w: the answer lacks keys", atrest.ErrVaultUnavailable)
	}
	return a, nil
}
