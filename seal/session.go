package seal

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/vaultclient"
)

// A session is being logged in to Vault as a service: it has a token, renews it long
// before it ends, and gets another when it no longer holds.
type session struct {
	vault *vaultclient.Client // sends no token
	log   *slog.Logger
	life  context.Context // ends with close
	end   context.CancelFunc
	done  chan struct{} // closed once keep has returned

	turn   chan struct{} // holds a place while somebody logs in or renews
	by     loginMethod   // of who has the turn, as is the next
	failed failures

	changed chan struct{} // tells keep that there is another token

	mu    sync.Mutex // of what follows, and never held while Vault is asked
	token *secret
	ttl   time.Duration
	ours  bool      // the token is ours to revoke
	since time.Time // of the last login or renewal
}

// errEnded is what a client of a session gets that has ended.
var errEnded = errors.New("the session with Vault has ended")

func newSession(vault *vaultclient.Client, log *slog.Logger) *session {
	s := &session{vault: vault, log: log, done: make(chan struct{}), turn: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
	s.life, s.end = context.WithCancel(context.Background())
	go s.keep()
	return s
}

// close ends the session and wipes its secrets. The token is revoked if it is ours, and
// Vault is there to do so.
func (s *session) close() {
	s.end()
	<-s.done
	s.turn <- struct{}{} // whoever has it ends now
	defer func() { <-s.turn }()
	s.revoke(s.replace(&granted{}))
	if s.by != nil {
		s.by.wipe()
		s.by = nil
	}
}

// inTurn calls f while nobody else logs in or renews. It waits for that no longer than
// ctx; f's context ends with the session, too.
func (s *session) inTurn(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
	}
	if s.life.Err() != nil {
		return errEnded
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return f(ctx)
}

// use logs in by this from now on, if it works, and takes it over.
func (s *session) use(ctx context.Context, by loginMethod) error {
	return s.inTurn(ctx, func(ctx context.Context) error { return s.change(ctx, by) })
}

// change is use for who has the turn.
func (s *session) change(ctx context.Context, by loginMethod) error {
	got, err := by.logIn(ctx, s.vault)
	if err != nil {
		by.wipe()
		return err
	}
	if s.by != nil {
		s.by.wipe()
	}
	s.by, s.failed = by, failures{}
	s.revoke(s.replace(got)) // a request under way with the old one is repeated with the new
	return nil
}

// logIn gets another token for one that has ended. The caller has the turn.
func (s *session) logIn(ctx context.Context) error {
	if s.by == nil {
		return errors.New("there has been no login")
	}
	got, err := s.by.logIn(ctx, s.vault)
	if err != nil {
		if ctx.Err() == nil {
			s.failed.add()
			s.log.WarnContext(ctx, "logging in to Vault anew failed", "error", err)
		}
		return err
	}
	s.failed = failures{}
	s.replace(got).token.wipe()
	return nil
}

// failures are logins that failed one after the other.
type failures struct {
	n     int
	until time.Time // the clients' requests do not try again before
}

const maxLoginPause = 5 * time.Second

func (f *failures) add() {
	pause := min(100*time.Millisecond<<min(f.n, 10), maxLoginPause)
	f.n, f.until = f.n+1, time.Now().Add(pause)
}

// replace puts another token in the place of the present one, which it returns.
func (s *session) replace(got *granted) (old *granted) {
	s.mu.Lock()
	old = &granted{s.token, s.ttl, s.ours}
	s.token, s.ttl, s.ours, s.since = got.token, got.ttl, got.ours, time.Now()
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default: // keep has yet to look
	}
	return old
}

// revokeOldTimeout is how long a token that has served is tried to be revoked: it ends by
// itself as well.
const revokeOldTimeout = 2 * time.Second

// revoke ends a token that is ours, and wipes it.
func (s *session) revoke(old *granted) {
	defer old.token.wipe()
	if old.token.size() == 0 || !old.ours {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), revokeOldTimeout)
	defer cancel()
	_, _, err := vaultclient.Do[struct{}](ctx, s.as(string(old.token.bytes())), vaultclient.Request{Method: http.MethodPut, Path: "auth/token/revoke-self", Once: true})
	if err != nil && !errors.Is(err, atrest.ErrPermission) { // which it is if it has ended
		s.log.Warn("the service's token was not revoked, and ends by itself", "error", err)
	}
}

// currentToken returns the token of this moment, "" if there is none.
func (s *session) currentToken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.token.bytes())
}

func (s *session) as(token string) *vaultclient.Client {
	return s.vault.WithToken(func() string { return token })
}

// keep renews the token when two thirds of its time are over, and logs in anew if that
// fails.
func (s *session) keep() {
	defer close(s.done)
	for failed := 0; s.life.Err() == nil; {
		due := s.untilRenewal()
		if failed > 0 {
			due = min(time.Duration(failed)*time.Second, time.Minute)
		}
		// Jitter, so that nodes which started together do not come together.
		timer := time.NewTimer(due + rand.N(max(due/10, 100*time.Millisecond)))
		select {
		case <-timer.C:
			failed++
			if err := s.inTurn(s.life, s.renew); err == nil {
				failed = 0
			} else if s.life.Err() == nil {
				s.log.Warn("renewing the service's token failed", "error", err)
			}
		case <-s.changed:
			failed = 0
		case <-s.life.Done():
		}
		timer.Stop()
	}
}

// forever is when a token is renewed that does not end, or is not there.
const forever = 1000 * time.Hour

func (s *session) untilRenewal() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token.size() == 0 || s.ttl <= 0 {
		return forever
	}
	return max(s.ttl*2/3-time.Since(s.since), 0)
}

// renew renews the token. The caller has the turn.
func (s *session) renew(ctx context.Context) error {
	body, err := vaultclient.Body(nil)
	if err != nil {
		return err
	}
	a, _, err := vaultclient.Do[auth](ctx, s.as(s.currentToken()), vaultclient.Request{Method: http.MethodPut, Path: "auth/token/renew-self", Body: body})
	_, refused := errors.AsType[*vaultclient.RefusedError](err)
	switch {
	case errors.Is(err, atrest.ErrPermission), refused:
		return s.logIn(ctx) // it is gone, or can't be renewed
	case err != nil:
		return err
	case a == nil:
		return vaultclient.Garbage("no token")
	}
	wipe(a.Auth.ClientToken)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ttl, s.since = time.Duration(a.Auth.LeaseDuration)*time.Second, time.Now()
	return nil
}

// holds reports whether a token holds, as far as Vault tells. It returns
// atrest.ErrPermission if it does not.
func (s *session) holds(ctx context.Context, token string) error {
	_, _, err := vaultclient.Do[vaultclient.Data[tokenInfo]](ctx, s.as(token), vaultclient.Request{Method: http.MethodGet, Path: "auth/token/lookup-self"})
	return err
}

// replaceEnded logs in anew if a token that Vault has refused does not hold any
// more, and reports whether there is another now. If logging in has just failed, it does
// not try.
func (s *session) replaceEnded(ctx context.Context, token string) bool {
	err := s.inTurn(ctx, func(ctx context.Context) error {
		switch {
		case s.currentToken() != token:
			return nil // somebody else was faster
		case time.Now().Before(s.failed.until):
			return errNotTried
		}
		err := s.holds(ctx, token)
		if errors.Is(err, atrest.ErrPermission) {
			return s.logIn(ctx)
		}
		return cmp.Or(err, errNotTried) // it holds: its policy does not allow this
	})
	return err == nil
}

// errNotTried means that there was no reason to log in anew.
var errNotTried = errors.New("not logged in anew")
