package seal

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/internal/devvault"
	"github.com/atrest/atrest/internal/vaultclient"
)

// A gate counts the requests that end in path, and holds them back while it is shut.
type gate struct {
	next http.RoundTripper
	path string

	mu      sync.Mutex
	count   int
	shut    bool
	reached chan struct{}
}

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, g.path) {
		g.mu.Lock()
		g.count++
		shut := g.shut
		g.mu.Unlock()
		if shut {
			g.reached <- struct{}{}
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
	}
	return g.next.RoundTrip(r)
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.count = shut, 0
}

func (g *gate) counted() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.count
}

// newGated returns a node whose logins go through a gate.
func newGated(t *testing.T, vault *devvault.Server, records backend.Records) (*Manager, *gate) {
	t.Helper()
	g := &gate{path: "/login", reached: make(chan struct{}, 100)}
	m := newNode(t, vault, records, func(c *Config) {
		config := c.Vault.CloneConfig()
		g.next = config.HttpClient.Transport
		config.HttpClient.Transport = g
		var err error
		if c.Vault, err = apiClient(config); err != nil {
			t.Fatal(err)
		}
	})
	return m, g
}

// loseToken revokes the token that the session has.
func loseToken(t *testing.T, m *Manager) {
	t.Helper()
	c := m.withToken([]byte(m.session.currentToken()))
	if _, _, err := vaultclient.Do[struct{}](t.Context(), c, vaultclient.Request{Method: http.MethodPut, Path: "auth/token/revoke-self"}); err != nil {
		t.Fatal(err)
	}
}

// lookUpSelf is a request that a service may always make.
func lookUpSelf(ctx context.Context, c *api.Client) error {
	_, err := c.Auth().Token().LookupSelfWithContext(ctx)
	return err
}

// TestHangingLogin has a login hang. Whoever waits for it does so no longer than it
// wants to, and Close ends it.
func TestHangingLogin(t *testing.T) {
	t.Parallel()
	m, g := newGated(t, bareVault(t), memory.NewRecords())
	mustBoot(t, m, testPassword)
	client, err := m.Client()
	if err != nil {
		t.Fatal(err)
	}
	loseToken(t, m)
	g.set(true)
	first := make(chan error, 1)
	go func() { first <- lookUpSelf(context.Background(), client) }()
	<-g.reached
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := lookUpSelf(ctx, client); err == nil {
		t.Error("a token that was revoked served")
	}
	if err := m.Boot(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Boot = %v", err)
	}
	m.Close()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	if err := <-first; err == nil {
		t.Error("a login that hung served")
	}
}

// TestFailingLogin takes away the credentials. Requests go on failing, without a login for
// each of them, and succeed again soon after there are credentials again.
func TestFailingLogin(t *testing.T) {
	t.Parallel()
	vault, records := bareVault(t), memory.NewRecords()
	m, g := newGated(t, vault, records)
	mustBoot(t, m, testPassword)
	client, err := m.Client()
	if err != nil {
		t.Fatal(err)
	}
	err = m.asRoot(t.Context(), "test", func(ctx context.Context, root *vaultclient.Client) error {
		return m.destroyOtherSecretIDs(ctx, root)
	})
	if err != nil {
		t.Fatal(err)
	}
	loseToken(t, m)
	g.set(false)
	for range 100 {
		if err := lookUpSelf(t.Context(), client); err == nil {
			t.Fatal("it serves without credentials")
		}
	}
	if n := g.counted(); n < 1 || n > 20 {
		t.Errorf("%d logins for 100 requests", n)
	}
	for range 10 { // so many that Vault, by default, would lock the role out
		if _, err := m.session.by.logIn(t.Context(), m.anonymous); err == nil {
			t.Fatal("it logs in without credentials")
		}
	}
	other := newNode(t, vault, records)
	if err := other.Boot(t.Context(), []byte(testPassword)); !errors.Is(err, atrest.ErrPermission) {
		t.Fatalf("Boot without credentials = %v", err)
	}
	if err := other.RotateSecretID(t.Context()); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(2 * maxLoginPause); ; time.Sleep(50 * time.Millisecond) {
		if err = lookUpSelf(t.Context(), client); err == nil || time.Now().After(until) {
			break
		}
	}
	if err != nil {
		t.Errorf("with new credentials: %v", err)
	}
}

// TestBootKeepsToken boots again: a token that holds stays, and one that is replaced is
// revoked.
func TestBootKeepsToken(t *testing.T) {
	t.Parallel()
	m := newNode(t, bareVault(t), memory.NewRecords())
	mustBoot(t, m, testPassword)
	token := m.session.currentToken()
	mustBoot(t, m, "")
	if m.session.currentToken() != token {
		t.Error("it logged in anew")
	}
	if err := m.RotateSecretID(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m.session.currentToken() == token {
		t.Error("it did not log in by the new secret id")
	}
	if err := m.session.holds(t.Context(), token); !errors.Is(err, atrest.ErrPermission) {
		t.Errorf("the token of before: %v", err)
	}
	wantService(t, m)
}

// TestClosed closes a Manager. Nothing brings it back to life.
func TestClosed(t *testing.T) {
	t.Parallel()
	m := newNode(t, bareVault(t), memory.NewRecords())
	mustBoot(t, m, testPassword)
	client, err := m.Client()
	if err != nil {
		t.Fatal(err)
	}
	keeping := make(chan error)
	go func() { keeping <- m.KeepUnsealed(context.Background()) }()
	m.Close()
	m.Close()
	if err := <-keeping; !errors.Is(err, errClosed) {
		t.Errorf("KeepUnsealed, which ran = %v", err)
	}
	if err := m.KeepUnsealed(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("KeepUnsealed = %v", err)
	}
	if err := m.Boot(t.Context(), []byte(testPassword)); !errors.Is(err, errClosed) {
		t.Errorf("Boot = %v", err)
	}
	if err := m.Adopt(t.Context(), []byte(testPassword)); !errors.Is(err, errClosed) {
		t.Errorf("Adopt = %v", err)
	}
	if _, err := m.Client(); !errors.Is(err, errClosed) {
		t.Errorf("Client = %v", err)
	}
	if err := lookUpSelf(t.Context(), client); !errors.Is(err, errEnded) {
		t.Errorf("a client's request = %v", err)
	}
	if have, _ := m.hasPassword(); have || m.session.currentToken() != "" {
		t.Error("it still has secrets")
	}
}
