package seal

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/vaultclient"
)

// Rekey replaces Vault's unseal key by a new one, in that many shares of which threshold
// unseal it. Vault stays unsealed. A rekey that somebody else has begun by hand is cancelled.
//
// In order, a death after each step leaving a record that unseals Vault:
//
//  1. Vault makes a new key, which it does not use before it is verified;
//  2. the record holds it beside the old one, as pending;
//  3. the new key is given back to Vault, which changes over;
//  4. the record holds the new key alone.
//
// Between 2 and 4 it is not known which of the two is Vault's, and both are tried.
func (m *Manager) Rekey(ctx context.Context, shares, threshold int) error {
	return m.exclusive(ctx, "rekey", func() error {
		if err := checkShares(shares, threshold); err != nil {
			return err
		}
		return m.locked(ctx, func(ctx context.Context, s *sealed) error { return m.rekey(ctx, s, shares, threshold) })
	})
}

// rekeyState is the answer of sys/rekey/init, /update and /verify.
type rekeyState struct {
	Nonce             string                    `json:"nonce"`
	MustVerify        bool                      `json:"verification_required"`
	Complete          bool                      `json:"complete"`
	Keys              []vaultclient.Base64Bytes `json:"keys_base64"`
	VerificationNonce string                    `json:"verification_nonce"`
}

func (m *Manager) rekey(ctx context.Context, s *sealed, shares, threshold int) error {
	if err := checkShareRecords(m.cfg.ShareRecords, shares, threshold); err != nil {
		return err
	}
	stored := m.listShares(ctx)
	made, err := m.newUnsealKey(ctx, s.keys, shares, threshold)
	if err != nil {
		return err
	}
	answer := initAnswer{Keys: made.Keys}
	defer answer.wipe()
	next := answer.unsealKeys(threshold)
	defer next.wipe()
	password := m.currentPassword()
	defer password.wipe()
	kept, err := m.spread(ctx, s.header, next, password)
	if err != nil {
		return errors.Join(err, m.cancelRekey(context.WithoutCancel(ctx)))
	}
	pending, err := m.put(ctx, &sealed{s.revision, s.header, &payload{keys: s.keys, pending: kept, appRole: s.appRole, nextAppRole: s.nextAppRole}}, password)
	if err != nil {
		return err
	}
	defer pending.wipeAll()
	if err := m.verifyAll(ctx, made.VerificationNonce, pending.pending); err != nil {
		return err // both stay recorded, and the next operation finds out which it is
	}
	done, err := m.put(ctx, pending.withKeys(pending.pending), password)
	if err != nil {
		return err
	}
	defer done.wipeAll()
	m.log.InfoContext(ctx, "vault has a new unseal key", "shares", shares, "threshold", threshold)
	m.sweepShares(ctx, stored, s.header.install, done.keys, s.keys)
	m.removeCandidates(ctx)
	return nil
}

// verifyAll gives Vault the shares of the key that it has made, and returns nil once it
// has changed over.
func (m *Manager) verifyAll(ctx context.Context, nonce string, keys *unsealKeys) error {
	if err := m.gather(ctx, keys); err != nil {
		return err
	}
	for _, share := range keys.shares {
		complete, err := m.verifyRekey(ctx, nonce, share)
		if err != nil || complete { // by threshold of them
			return err
		}
	}
	return vaultclient.Garbage("no end of the verification of the new unseal key")
}

// withKeys is s with these keys alone.
func (s *sealed) withKeys(keys *unsealKeys) *sealed {
	return &sealed{s.revision, s.header, &payload{keys: keys, appRole: s.appRole, nextAppRole: s.nextAppRole}}
}

// newUnsealKey has Vault make a key that it does not use yet.
func (m *Manager) newUnsealKey(ctx context.Context, keys *unsealKeys, shares, threshold int) (*rekeyState, error) {
	if err := m.gather(ctx, keys); err != nil {
		return nil, err
	}
	if err := m.cancelRekey(ctx); err != nil {
		return nil, err
	}
	body, err := vaultclient.Body(map[string]any{"secret_shares": shares, "secret_threshold": threshold, "require_verification": true})
	if err != nil {
		return nil, err
	}
	begun, err := m.rekeyRequest(ctx, http.MethodPut, "sys/rekey/init", body)
	if err != nil {
		return nil, err
	}
	if !begun.MustVerify {
		return nil, errors.Join(fmt.Errorf("%w: this Vault changes its unseal key without verification", atrest.ErrUnsupported), m.cancelRekey(context.WithoutCancel(ctx)))
	}
	for _, share := range keys.shares {
		body, err := shareBody(map[string]string{"nonce": begun.Nonce}, share)
		if err != nil {
			return nil, err
		}
		made, err := m.rekeyRequest(ctx, http.MethodPut, "sys/rekey/update", body)
		if err != nil {
			return nil, errors.Join(err, m.cancelRekey(context.WithoutCancel(ctx)))
		}
		if !made.Complete {
			continue
		}
		if len(made.Keys) != shares || made.VerificationNonce == "" {
			return nil, vaultclient.Garbage("a new key without all that belongs to it")
		}
		return made, nil
	}
	return nil, errors.Join(fmt.Errorf("%w: Vault wants more shares of it than the record has", atrest.ErrWrongUnsealKey), m.cancelRekey(context.WithoutCancel(ctx)))
}

// verifyRekey gives Vault a share of the key that it has made. With the last one it
// changes over.
func (m *Manager) verifyRekey(ctx context.Context, nonce string, share *secret) (complete bool, err error) {
	body, err := shareBody(map[string]string{"nonce": nonce}, share)
	if err != nil {
		return false, err
	}
	state, err := m.rekeyRequest(ctx, http.MethodPut, "sys/rekey/verify", body)
	return err == nil && state.Complete, err
}

// cancelRekey ends a rekey of before, which Vault keeps in memory. One that awaits its
// verification is ended by the first request as well.
func (m *Manager) cancelRekey(ctx context.Context) error {
	_, _, err := vaultclient.Do[struct{}](ctx, m.anonymous, vaultclient.Request{
		Method: http.MethodDelete, Path: "sys/rekey/init", Refused: func(status int, _ string) error { return switchedOff(status) },
	})
	return err
}

func (m *Manager) rekeyRequest(ctx context.Context, method, path string, body *vaultclient.SecretBody) (*rekeyState, error) {
	a, _, err := vaultclient.Do[rekeyState](ctx, m.anonymous, vaultclient.Request{Method: method, Path: path, Body: body, Once: true})
	if err == nil && a == nil {
		err = vaultclient.Garbage("nothing")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return a, nil
}

// settleKeys finds out which of two keys is Vault's after a rekey that died, and records
// it. Vault is unsealed. The caller has the lock.
func (m *Manager) settleKeys(ctx context.Context, s *sealed) (*sealed, error) {
	if s.pending == nil {
		return s, nil
	}
	// Whoever has begun it may have lost the lock and live: what is not verified by now
	// must never be, or Vault would change over to a key that nobody records.
	if err := m.cancelRekey(ctx); err != nil {
		return nil, err
	}
	password := m.currentPassword()
	defer password.wipe()
	var failed error
	for _, keys := range []*unsealKeys{s.pending, s.keys} {
		err := m.proveByRoot(ctx, keys)
		if err == nil {
			return m.put(ctx, s.withKeys(keys), password)
		}
		// One that can't be read may be Vault's, or be of no use: the other tells.
		if !errors.Is(err, atrest.ErrWrongUnsealKey) && !errors.Is(err, errFewShares) {
			return nil, err
		}
		failed = errors.Join(failed, err)
	}
	return nil, fmt.Errorf("neither the unseal key in the record nor the one of an unfinished rekey: %w", failed)
}

// checkShares says which shares Vault takes.
func checkShares(shares, threshold int) error {
	if shares < 1 || shares > maxShares || threshold < 1 || threshold > shares || shares > 1 && threshold == 1 {
		return fmt.Errorf("%w: %d of %d shares: Vault takes 1 of 1, or 2 to n of n up to %d", atrest.ErrUnsupported, threshold, shares, maxShares)
	}
	return nil
}
