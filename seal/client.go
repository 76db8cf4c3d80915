package seal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/hashicorp/vault/api"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/vaultclient"
)

// Client returns a client that is logged in to Vault as a service, for transit.Open
// and all else that the policy allows, and stays so: its token is renewed, and where
// Vault refuses it because it was revoked or has expired, the client logs in anew and
// repeats the request. It follows changes of the AppRole's secret id. It may be used
// until Close. Boot must have succeeded before. A request whose body can't be had again is
// not repeated; the next one has the new token.
//
// A login that fails is not tried again at once: for up to 5 seconds, requests that it would
// have served are refused as Vault has refused them.
func (m *Manager) Client() (*api.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.isClosed():
		return nil, fmt.Errorf("seal: client: %w", errClosed)
	case m.session == nil || m.session.currentToken() == "":
		return nil, errors.New("seal: there is no client before Boot")
	}
	return m.session.client(m.cfg.Vault)
}

// ownClient returns a copy of a client without its token, which later changes of
// that one, of its namespace say, do not touch.
func ownClient(like *api.Client) (*api.Client, error) {
	return clientLike(like, like.CloneConfig())
}

func clientLike(like *api.Client, config *api.Config) (*api.Client, error) {
	c, err := api.NewClient(config)
	if err == nil {
		err = c.SetAddress(like.Address())
	}
	if err != nil {
		return nil, fmt.Errorf("making a Vault client: %w", err)
	}
	headers := like.Headers()
	headers.Del(api.AuthHeaderName)
	c.SetHeaders(headers)
	c.ClearToken() // one from the environment
	return c, nil
}

// login makes, or refreshes, the session of the service. One that this AppRole has, and
// that holds, stays.
func (m *Manager) login(ctx context.Context, role *appRole) error {
	m.mu.Lock()
	if m.session == nil {
		m.session = newSession(m.anonymous, m.log)
	}
	session := m.session
	m.mu.Unlock() // a login takes its time, and may want to read the record
	return session.inTurn(ctx, func(ctx context.Context) error {
		present, ok := session.by.(*recordLogin)
		if ok && present.role.secretID.equal(role.secretID) && session.holds(ctx, session.currentToken()) == nil {
			return nil
		}
		return session.change(ctx, &recordLogin{m: m, role: role.clone()})
	})
}

// loginAnew gives the session another token, whatever the one is worth that it has.
func (m *Manager) loginAnew(ctx context.Context, role *appRole) error {
	return m.session.use(ctx, &recordLogin{m: m, role: role.clone()})
}

// recordLogin logs in by the AppRole in the seal record, which another node may change.
type recordLogin struct {
	m    *Manager
	role *appRole // as it was last seen
}

func (l *recordLogin) logIn(ctx context.Context, vault *vaultclient.Client) (*granted, error) {
	got, err := l.role.logIn(ctx, vault)
	if !errors.Is(err, atrest.ErrPermission) {
		return got, err
	}
	s, readErr := l.m.reopen(ctx)
	defer s.wipeAll()
	if readErr != nil || s == nil || s.appRole == nil || s.appRole.secretID.equal(l.role.secretID) {
		return nil, errors.Join(err, readErr)
	}
	l.role.wipe()
	l.role = s.appRole.clone()
	return l.role.logIn(ctx, vault)
}

func (l *recordLogin) copy() loginMethod { return &recordLogin{l.m, l.role.clone()} }
func (l *recordLogin) wipe()             { l.role.wipe() }

// client returns a client like the one given, with the session's token.
func (s *session) client(like *api.Client) (*api.Client, error) {
	config := like.CloneConfig()
	next := config.HttpClient.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	config.HttpClient.Transport = &loggedIn{next: next, session: s}
	c, err := clientLike(like, config)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	c.SetToken(sessionToken)
	return c, nil
}

// sessionToken stands for the session's token in the clients that it is given out
// with, for what they have is visible to whoever prints them.
const sessionToken = "seal-session"

// loggedIn puts the session's token into each request.
type loggedIn struct {
	next    http.RoundTripper
	session *session
}

// RoundTrip implements [http.RoundTripper].
func (l *loggedIn) RoundTrip(r *http.Request) (*http.Response, error) {
	token := l.session.currentToken()
	if token == "" {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, errEnded
	}
	resp, err := l.next.RoundTrip(withToken(r, token))
	if err != nil || resp.StatusCode != http.StatusForbidden {
		return resp, err
	}
	// Either the token has ended, or the policy does not allow this.
	if !l.session.replaceEnded(r.Context(), token) || !repeatable(r) {
		return resp, nil
	}
	again := withToken(r, l.session.currentToken())
	if r.GetBody != nil {
		if again.Body, err = r.GetBody(); err != nil {
			return resp, nil
		}
	}
	io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // so that the connection is used again
	resp.Body.Close()
	return l.next.RoundTrip(again)
}

func withToken(r *http.Request, token string) *http.Request {
	r = r.Clone(r.Context())
	r.Header.Set(api.AuthHeaderName, token)
	return r
}

// repeatable reports whether the body, if there is one, can be had again.
func repeatable(r *http.Request) bool {
	return r.Body == nil || r.Body == http.NoBody || r.GetBody != nil
}
