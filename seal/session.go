package seal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/vaultclient"
)

// A session is being logged in to Vault as a service: it has a token, renews it long
// before it ends, and gets another when it no longer holds.
type session struct {
	vault *vaultclient.Client // sends no token
	log   *slog.Logger
	ended context.CancelFunc
	done  chan struct{}

	mu    sync.Mutex // of what follows, held while logging in
	by    loginMethod
	token *secret
	ttl   time.Duration
	ours  bool      // the token is ours to revoke
	since time.Time // of the last login or renewal
}

// login makes, or refreshes, the session of the service.
func (m *Manager) login(ctx context.Context, role *appRole) error {
	m.mu.Lock()
	if m.session == nil {
		m.session = newSession(m.anonymous, m.log)
	}
	session := m.session
	m.mu.Unlock() // a login takes its time, and may want to read the record
	return session.use(ctx, &recordLogin{m: m, role: role.clone()})
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

func newSession(vault *vaultclient.Client, log *slog.Logger) *session {
	s := &session{vault: vault, log: log, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	s.ended = cancel
	go s.keep(ctx)
	return s
}

// close ends the session and wipes its secrets. The token is revoked if it is ours, and
// Vault is there to do so.
func (s *session) close() {
	s.ended()
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token.size() > 0 && s.ours {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		token := string(s.token.bytes())
		c := s.vault.WithToken(func() string { return token })
		if _, _, err := vaultclient.Do[struct{}](ctx, c, vaultclient.Request{Method: http.MethodPut, Path: "auth/token/revoke-self", Once: true}); err != nil {
			s.log.Warn("the service's token was not revoked, and ends by itself", "error", err)
		}
	}
	s.token.wipe()
	if s.by != nil {
		s.by.wipe()
		s.by = nil
	}
}

// use logs in by this from now on, and takes it over.
func (s *session) use(ctx context.Context, by loginMethod) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by != nil {
		s.by.wipe()
	}
	s.by = by
	return s.logIn(ctx)
}

// logIn gets a token. The caller has the mutex.
func (s *session) logIn(ctx context.Context) error {
	if s.by == nil {
		return errors.New("the session has ended")
	}
	got, err := s.by.logIn(ctx, s.vault)
	if err != nil {
		return err
	}
	s.token.wipe()
	s.token, s.ttl, s.ours, s.since = got.token, got.ttl, got.ours, time.Now()
	return nil
}

// currentToken returns the token of this moment.
func (s *session) currentToken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.token.bytes())
}

// keep renews the token when two thirds of its time are over, and logs in anew if that
// fails.
func (s *session) keep(ctx context.Context) {
	defer close(s.done)
	for n := 0; ; {
		s.mu.Lock()
		wait := s.ttl*2/3 - time.Since(s.since)
		known := s.token != nil && s.ttl > 0
		s.mu.Unlock()
		if !known {
			wait = time.Second
		}
		if n > 0 {
			wait = min(time.Duration(n)*time.Second, time.Minute)
		}
		// Jitter, so that nodes which started together do not come together.
		wait = max(wait, 0) + rand.N(max(wait/10, 100*time.Millisecond))
		if sleep(ctx, wait) != nil {
			return
		}
		if !known {
			continue
		}
		if err := s.renew(ctx); err != nil && ctx.Err() == nil {
			n++
			s.log.WarnContext(ctx, "renewing the service's token failed", "error", err)
		} else {
			n = 0
		}
	}
}

func (s *session) renew(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := string(s.token.bytes())
	c := s.vault.WithToken(func() string { return token })
	body, err := vaultclient.Body(nil)
	if err != nil {
		return err
	}
	a, _, err := vaultclient.Do[auth](ctx, c, vaultclient.Request{Method: http.MethodPut, Path: "auth/token/renew-self", Body: body})
	_, refused := errors.AsType[*vaultclient.RefusedError](err)
	switch {
	case errors.Is(err, atrest.ErrPermission), refused:
		return s.logIn(ctx) // it is gone, or can't be renewed
	case err != nil:
		return err
	case a == nil:
		return vaultclient.Garbage("no token")
	}
	s.ttl, s.since = time.Duration(a.Auth.LeaseDuration)*time.Second, time.Now()
	return nil
}

// Client returns a client that is logged in to Vault as a service, for transit.Open
// and all else that the policy allows, and stays so: its token is renewed, and where
// Vault refuses it because it was revoked or has expired, the client logs in anew and
// repeats the request. It follows changes of the AppRole's secret id. It may be used
// until Close. Boot must have succeeded before.
func (m *Manager) Client() (*api.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session == nil {
		return nil, errors.New("seal: there is no client before Boot")
	}
	return m.session.client(m.cfg.Vault)
}

// client returns a client like the one given, with the session's token.
func (s *session) client(like *api.Client) (*api.Client, error) {
	config := like.CloneConfig()
	next := config.HttpClient.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	config.HttpClient.Transport = &loggedIn{next: next, session: s}
	c, err := api.NewClient(config)
	if err == nil {
		err = c.SetAddress(like.Address())
	}
	if err != nil {
		return nil, fmt.Errorf("seal: making a Vault client: %w", err)
	}
	headers := like.Headers()
	headers.Del(api.AuthHeaderName)
	c.SetHeaders(headers)
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
	resp, err := l.next.RoundTrip(withToken(r, token))
	if err != nil || resp.StatusCode != http.StatusForbidden || !repeatable(r) {
		return resp, err
	}
	// Either the token has ended, or the policy does not allow this.
	if renewed, err := l.session.replaceEnded(r.Context(), token); err != nil || !renewed {
		if err != nil {
			l.session.log.WarnContext(r.Context(), "logging in to Vault anew failed", "error", err)
		}
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

// replaceEnded logs in anew if a token that Vault has refused does not hold any
// more, and reports whether there is another now.
func (s *session) replaceEnded(ctx context.Context, token string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if string(s.token.bytes()) != token {
		return true, nil // somebody else was faster
	}
	c := s.vault.WithToken(func() string { return token })
	_, _, err := vaultclient.Do[vaultclient.Data[tokenInfo]](ctx, c, vaultclient.Request{Method: http.MethodGet, Path: "auth/token/lookup-self"})
	if !errors.Is(err, atrest.ErrPermission) {
		return false, err
	}
	return true, s.logIn(ctx)
}
