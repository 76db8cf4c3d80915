package seal

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/vaultclient"
)

// unseal unseals Vault by the keys of the record, or, if they do not or can't be read,
// by those of a rekey that died before it could be recorded that it was done.
func (m *Manager) unseal(ctx context.Context, s *sealed) error {
	was, err := m.unsealWith(ctx, s.keys)
	if err != nil && s.pending != nil && ctx.Err() == nil {
		var other error
		if was, other = m.unsealWith(ctx, s.pending); other != nil {
			err = errors.Join(err, other)
		} else {
			err = nil
		}
	}
	m.noteUnseal(err)
	if err != nil {
		return err
	}
	if was {
		m.log.InfoContext(ctx, "vault was unsealed", "installation", s.header.install)
	}
	return m.awaitLeader(ctx)
}

// noteUnseal remembers how unsealing ended, for Status.
func (m *Manager) noteUnseal(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unsealErr = err
}

func (m *Manager) lastUnsealError() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.unsealErr
}

// unsealWith unseals Vault by a set of shares, and returns whether it was sealed.
// Somebody else may be at it at the same time: what counts is that in the end it is
// unsealed.
func (m *Manager) unsealWith(ctx context.Context, keys *unsealKeys) (was bool, err error) {
	status, err := m.sealStatus(ctx)
	switch {
	case err != nil:
		return false, err
	case !status.Initialized:
		return false, fmt.Errorf("%w: it is not initialised, although the seal record holds its unseal key: has Vault lost its storage, or does it use another?", atrest.ErrVaultSealed)
	case !status.Sealed:
		return false, nil
	}
	if err := m.gather(ctx, keys); err != nil {
		return true, err
	}
	if status.Threshold > len(keys.shares) {
		return true, fmt.Errorf("%w: Vault wants %d shares of it, the record has %d", atrest.ErrWrongUnsealKey, status.Threshold, len(keys.shares))
	}
	if status.Progress > 0 {
		// Shares that an earlier try has left there, which may be of an older key.
		if err := m.resetUnseal(ctx); err != nil {
			return true, err
		}
	}
	for _, share := range keys.shares {
		status, err = m.submitShare(ctx, share)
		if err != nil {
			return true, err
		}
		if !status.Sealed {
			return true, nil
		}
	}
	return true, fmt.Errorf("%w: it is still sealed although it was given %d shares of the unseal key; is somebody else unsealing it at the same time?", atrest.ErrVaultSealed, len(keys.shares))
}

func (m *Manager) submitShare(ctx context.Context, share *secret) (*sealStatus, error) {
	body, err := shareBody(nil, share)
	if err != nil {
		return nil, err
	}
	s, _, err := vaultclient.Do[sealStatus](ctx, m.anonymous, vaultclient.Request{
		Method: http.MethodPut, Path: "sys/unseal", Body: body, Refused: unsealRefusal,
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("unsealing Vault: %w", err)
	case s == nil:
		return nil, fmt.Errorf("unsealing Vault: %w: an empty answer", atrest.ErrVaultUnavailable)
	}
	return s, nil
}

// shareBody is v with a share of the unseal key, in the form that Vault takes.
func shareBody(v any, share *secret) (*vaultclient.SecretBody, error) {
	text := base64.StdEncoding.AppendEncode(make([]byte, 0, base64.StdEncoding.EncodedLen(share.size())), share.bytes())
	defer wipe(text)
	return vaultclient.Body(v, vaultclient.SecretField{Name: "key", Text: text})
}

func (m *Manager) resetUnseal(ctx context.Context) error {
	body, err := vaultclient.Body(map[string]bool{"reset": true})
	if err != nil {
		return err
	}
	_, _, err = vaultclient.Do[sealStatus](ctx, m.anonymous, vaultclient.Request{Method: http.MethodPut, Path: "sys/unseal", Body: body})
	if err != nil {
		return fmt.Errorf("taking back shares of the unseal key: %w", err)
	}
	return nil
}

// unsealRefusal sorts Vault's refusals of a key. A wrong one is status 500, since
// it fails to decrypt what is stored; 400 says that it does decrypt the root key,
// which then does not fit the keyring (handleSysUnseal in Vault's
// http/sys_seal.go).
func unsealRefusal(status int, text string) error {
	switch {
	case status == http.StatusInternalServerError && strings.Contains(text, "unable to retrieve stored keys"),
		status == http.StatusInternalServerError && strings.Contains(text, "message authentication failed"),
		status == http.StatusInternalServerError && strings.Contains(text, "invalid key size 0"), // its storage was emptied under it
		status == http.StatusBadRequest && strings.Contains(text, "failed to recover"):
		return fmt.Errorf("%w: it opens nothing there", atrest.ErrWrongUnsealKey)
	case status == http.StatusBadRequest && strings.Contains(text, "invalid key"),
		status == http.StatusBadRequest && strings.Contains(text, "Unseal failed"):
		return fmt.Errorf("%w: it is the right one for the seal, but the keyring behind it is another's, as after a restore of parts from different times", atrest.ErrWrongUnsealKey)
	}
	return nil
}

func isAlreadyInitialized(text string) bool { return strings.Contains(text, "already initialized") }
