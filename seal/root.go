package seal

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/vaultclient"
)

// rootAttempt is the answer of sys/generate-root/attempt and of each update.
type rootAttempt struct {
	Started      bool                  `json:"started"`
	Nonce        string                `json:"nonce"`
	Progress     int                   `json:"progress"`
	Required     int                   `json:"required"`
	Complete     bool                  `json:"complete"`
	OTP          vaultclient.TextBytes `json:"otp"`
	EncodedToken vaultclient.TextBytes `json:"encoded_token"`
}

func (a *rootAttempt) wipe() {
	wipe(a.OTP)
	wipe(a.EncodedToken)
}

// withRoot makes a root token from the unseal key, lends it to f, and revokes it,
// whatever f returns. The token is in memory only.
//
// If we die in between, a root token stays valid whose value nobody knows. The next
// withRoot revokes it, see revokeRoots.
func (m *Manager) withRoot(ctx context.Context, keys *unsealKeys, f func(ctx context.Context, root *vaultclient.Client) error) (err error) {
	token, err := m.generateRoot(ctx, keys)
	if err != nil {
		return err
	}
	return m.useRoot(ctx, token, f)
}

// useRoot lends a root token to f, revokes it and all others, and wipes it.
func (m *Manager) useRoot(ctx context.Context, token []byte, f func(ctx context.Context, root *vaultclient.Client) error) (err error) {
	root := m.withToken(token)
	defer wipe(token)
	defer func() {
		// Also if ctx has ended: what was made is to be unmade.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
		defer cancel()
		if revokeErr := m.revokeRoots(ctx, root); revokeErr != nil {
			err = errors.Join(err, fmt.Errorf("revoking the root token: %w", revokeErr))
		}
	}()
	return f(ctx, root)
}

const (
	revokeTimeout = time.Minute

	// cancelTimeout is how long a generation that has failed is tried to be cancelled.
	cancelTimeout = 5 * time.Second
)

// defaultRootPatience is how long a generation that somebody else has begun is left alone
// if nothing comes of it: an operator types the next share within it, or we have died
// between two requests.
const defaultRootPatience = 3 * time.Second

// generateRoot makes a root token. The caller holds the lock of the records.
func (m *Manager) generateRoot(ctx context.Context, keys *unsealKeys) ([]byte, error) {
	if err := m.gather(ctx, keys); err != nil {
		return nil, fmt.Errorf("generating a root token: %w", err)
	}
	attempt, err := m.startRoot(ctx)
	if err != nil {
		return nil, fmt.Errorf("generating a root token: %w", err)
	}
	defer attempt.wipe()
	for _, share := range keys.shares {
		done, err := m.updateRoot(ctx, attempt.Nonce, share)
		if err != nil {
			m.cancelRoot(ctx)
			return nil, fmt.Errorf("generating a root token: %w", err)
		}
		if done.Complete {
			defer done.wipe()
			token, err := decodeRoot(done.EncodedToken, attempt.OTP)
			if err != nil {
				return nil, fmt.Errorf("generating a root token: %w", err)
			}
			return token, nil
		}
	}
	m.cancelRoot(ctx)
	return nil, fmt.Errorf("generating a root token: %w: Vault wants more shares of it than the record has", atrest.ErrWrongUnsealKey)
}

// startRoot begins a generation, which Vault keeps in memory, and only one.
func (m *Manager) startRoot(ctx context.Context) (*rootAttempt, error) {
	found, err := m.rootStatus(ctx)
	if err != nil {
		return nil, err
	}
	if found.Started {
		if err := sleep(ctx, m.rootPatience); err != nil {
			return nil, err
		}
		now, err := m.rootStatus(ctx)
		if err != nil {
			return nil, err
		}
		if now.Started && (now.Nonce != found.Nonce || now.Progress != found.Progress) {
			return nil, fmt.Errorf("somebody else is generating a root token at this moment; let that finish, or cancel it with `vault operator generate-root -cancel`: %w", atrest.ErrConflict)
		}
		if now.Started {
			m.log.WarnContext(ctx, "cancelling a generation of a root token that nobody goes on with")
			m.cancelRoot(ctx)
		}
	}
	body, err := vaultclient.Body(struct{}{})
	if err != nil {
		return nil, err
	}
	a, _, err := vaultclient.Do[rootAttempt](ctx, m.anonymous, vaultclient.Request{
		Method: http.MethodPut, Path: "sys/generate-root/attempt", Body: body, Once: true,
	})
	if err == nil && (a == nil || a.Nonce == "" || len(a.OTP) == 0) {
		err = vaultclient.Garbage("no one-time password")
	}
	return a, err
}

func (m *Manager) rootStatus(ctx context.Context) (*rootAttempt, error) {
	a, _, err := vaultclient.Do[rootAttempt](ctx, m.anonymous, vaultclient.Request{
		Method: http.MethodGet, Path: "sys/generate-root/attempt", Refused: func(status int, _ string) error { return switchedOff(status) },
	})
	if err == nil && a == nil {
		err = vaultclient.Garbage("nothing")
	}
	return a, err
}

func (m *Manager) updateRoot(ctx context.Context, nonce string, share *secret) (*rootAttempt, error) {
	body, err := shareBody(map[string]string{"nonce": nonce}, share)
	if err != nil {
		return nil, err
	}
	a, _, err := vaultclient.Do[rootAttempt](ctx, m.anonymous, vaultclient.Request{
		Method: http.MethodPut, Path: "sys/generate-root/update", Body: body, Once: true, Refused: rootRefusal,
	})
	if err == nil && a == nil {
		err = vaultclient.Garbage("nothing")
	}
	return a, err
}

// rootRefusal tells a wrong key from other refusals.
func rootRefusal(status int, text string) error {
	if status == http.StatusBadRequest && strings.Contains(text, "root generation aborted") {
		return atrest.ErrWrongUnsealKey
	}
	return nil
}

// cancelRoot ends a generation. That it fails is no matter: the next one finds what
// is left and cancels it.
func (m *Manager) cancelRoot(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer cancel()
	if _, _, err := vaultclient.Do[struct{}](ctx, m.anonymous, vaultclient.Request{Method: http.MethodDelete, Path: "sys/generate-root/attempt"}); err != nil {
		m.log.WarnContext(ctx, "cancelling the generation of a root token failed", "error", err)
	}
}

// decodeRoot takes the one-time password off a token (EncodeToken in Vault's
// sdk/helper/roottoken).
func decodeRoot(encoded, otp []byte) ([]byte, error) {
	token := make([]byte, base64.RawStdEncoding.DecodedLen(len(encoded)))
	n, err := base64.RawStdEncoding.Decode(token, encoded)
	if err != nil || n != len(otp) {
		wipe(token)
		return nil, vaultclient.Garbage("a token that the one-time password does not fit")
	}
	for i := range n {
		token[i] ^= otp[i]
	}
	return token[:n], nil
}

// tokenInfo is what we need of a token's description.
type tokenInfo struct {
	Accessor string   `json:"accessor"`
	Policies []string `json:"policies"`
	Path     string   `json:"path"`
}

// revokeRoots revokes all root tokens: those that are left from a run that died,
// then the one in use. The scheme has no use for one that lasts, and who needs one makes
// it with GenerateRoot.
func (m *Manager) revokeRoots(ctx context.Context, root *vaultclient.Client) error {
	others := m.revokeOtherRoots(ctx, root)
	// Whatever became of the others, this one must not stay, and has time of its own.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	_, _, err := vaultclient.Do[struct{}](ctx, root, vaultclient.Request{Method: http.MethodPut, Path: "auth/token/revoke-self"})
	return errors.Join(others, err)
}

func (m *Manager) revokeOtherRoots(ctx context.Context, root *vaultclient.Client) (failed error) {
	own, _, err := vaultclient.Do[vaultclient.Data[tokenInfo]](ctx, root, vaultclient.Request{Method: http.MethodGet, Path: "auth/token/lookup-self"})
	if err != nil {
		return err
	}
	if own == nil {
		return vaultclient.Garbage("nothing")
	}
	self := own.Data.Accessor
	type accessors struct {
		Keys []string `json:"keys"`
	}
	all, _, err := vaultclient.Do[vaultclient.Data[accessors]](ctx, root, vaultclient.Request{Method: vaultclient.MethodList, Path: "auth/token/accessors"})
	if err != nil {
		return err
	}
	if all == nil {
		return vaultclient.Garbage("nothing")
	}
	for _, accessor := range all.Data.Keys {
		if accessor == self {
			continue
		}
		info, err := m.lookupAccessor(ctx, root, accessor)
		if errors.Is(err, errNoToken) {
			continue // it has expired meanwhile
		}
		if err == nil && slices.Contains(info.Policies, "root") {
			m.log.WarnContext(ctx, "revoking a root token", "accessor", accessor, "path", info.Path)
			err = m.revokeAccessor(ctx, root, accessor)
		}
		if ctx.Err() != nil {
			return errors.Join(failed, ctx.Err())
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// errNoToken means that no token has that accessor.
var errNoToken = errors.New("no such token")

func (m *Manager) lookupAccessor(ctx context.Context, c *vaultclient.Client, accessor string) (*tokenInfo, error) {
	body, err := vaultclient.Body(map[string]string{"accessor": accessor})
	if err != nil {
		return nil, err
	}
	a, _, err := vaultclient.Do[vaultclient.Data[tokenInfo]](ctx, c, vaultclient.Request{
		Method: http.MethodPut, Path: "auth/token/lookup-accessor", Body: body,
		Refused: func(status int, text string) error {
			// Root may do everything, so that it is not the permission that lacks.
			if status == http.StatusForbidden || status == http.StatusNotFound || status == http.StatusBadRequest && strings.Contains(text, "invalid accessor") {
				return errNoToken
			}
			return nil
		},
	})
	if err == nil && a == nil {
		err = vaultclient.Garbage("nothing")
	}
	if err != nil {
		return nil, err
	}
	return a.Data, nil
}

func (m *Manager) revokeAccessor(ctx context.Context, c *vaultclient.Client, accessor string) error {
	body, err := vaultclient.Body(map[string]string{"accessor": accessor})
	if err != nil {
		return err
	}
	_, _, err = vaultclient.Do[struct{}](ctx, c, vaultclient.Request{Method: http.MethodPut, Path: "auth/token/revoke-accessor", Body: body})
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// GenerateRoot makes a root token of the unseal key in the record, lends it to f, and
// revokes it, and with it every other root token, when f returns or panics. The token is
// stored nowhere, and wiped. What f is called with ends with ctx.
//
// It looks at each token that Vault has, so that it takes longer the more there are. A
// generation that somebody else has begun by hand is cancelled if nothing comes of it for
// 3 seconds.
func (m *Manager) GenerateRoot(ctx context.Context, f func(ctx context.Context, token []byte) error) error {
	return m.exclusive(ctx, "root token", func() error { return m.lendRoot(ctx, f) })
}

func (m *Manager) lendRoot(ctx context.Context, f func(ctx context.Context, token []byte) error) error {
	return m.locked(ctx, func(ctx context.Context, s *sealed) error {
		token, err := m.generateRoot(ctx, s.keys)
		if err != nil {
			return err
		}
		return m.useRoot(ctx, token, func(ctx context.Context, _ *vaultclient.Client) error { return f(ctx, token) })
	})
}
