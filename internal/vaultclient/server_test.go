package vaultclient_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/vault/api"
	"go.uber.org/goleak"

	"github.com/atrest/atrest/internal/devvault"
	"github.com/atrest/atrest/internal/vaultclient"
)

// shared is the Vault that all tests use which do not break theirs.
var shared *devvault.Server

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if shared, err = devvault.Shared(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := errors.Join(shared.Stop(), goleak.Find()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// wire counts the requests that a client makes, and keeps the last one.
type wire struct {
	transport *http.Transport
	requests  atomic.Int64
	last      atomic.Pointer[http.Request]
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.requests.Add(1)
	w.last.Store(r.Clone(context.Background()))
	return w.transport.RoundTrip(r)
}

// count returns the number of requests since the last call.
func (w *wire) count() int { return int(w.requests.Swap(0)) }

// token returns that of the last request.
func (w *wire) token() string { return w.last.Load().Header.Get("X-Vault-Token") }

// callerAt returns a caller's client whose own retries would show in the counts.
func callerAt(t *testing.T, addr, token string) (*api.Client, *wire) {
	t.Helper()
	w := &wire{transport: &http.Transport{}}
	c, err := api.NewClient(&api.Config{Address: addr, HttpClient: &http.Client{Transport: w}, MaxRetries: 5})
	if err != nil {
		t.Fatal(err)
	}
	c.SetToken(token)
	t.Cleanup(w.transport.CloseIdleConnections)
	return c, w
}

func newClient(t *testing.T, cfg vaultclient.Config) *vaultclient.Client {
	t.Helper()
	c, err := vaultclient.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// rootAt returns a client of the Vault at addr as the root of v.
func rootAt(t *testing.T, v *devvault.Server, addr string) (*vaultclient.Client, *wire) {
	t.Helper()
	caller, w := callerAt(t, addr, v.RootToken())
	return newClient(t, vaultclient.Config{Client: caller}), w
}

// proxy is a server in front of Vault, which a test has alter real answers.
func proxy(t *testing.T, alter func(w http.ResponseWriter, r *http.Request, vault http.Handler)) string {
	t.Helper()
	to, err := url.Parse(shared.Addr())
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	vault := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, Transport: transport}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { alter(w, r, vault) }))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		transport.CloseIdleConnections()
	})
	return s.URL
}

func body(t *testing.T, v any, secrets ...vaultclient.SecretField) *vaultclient.SecretBody {
	t.Helper()
	b, err := vaultclient.Body(v, secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// do makes a request that must succeed, and returns its answer, nil if it is empty.
func do[T any](t *testing.T, c *vaultclient.Client, r vaultclient.Request) *T {
	t.Helper()
	value, answer, err := vaultclient.Do[T](t.Context(), c, r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.Path, err)
	}
	if (value == nil) != (answer.Status == http.StatusNoContent) {
		t.Fatalf("%s %s: status %d, value %v", r.Method, r.Path, answer.Status, value)
	}
	return value
}

// fails makes a request that must fail with want, or for nil with any error.
func fails(t *testing.T, c *vaultclient.Client, r vaultclient.Request, want error) error {
	t.Helper()
	value, answer, err := vaultclient.Do[anything](t.Context(), c, r)
	if err == nil || want != nil && !errors.Is(err, want) || value != nil || answer != nil {
		t.Errorf("%s %s: %v, %v, error %v, want %v", r.Method, r.Path, value, answer, err, want)
	}
	return err
}

type anything map[string]any

type keys struct {
	Keys []string `json:"keys"`
}

func newName() string { return "test-" + strings.ToLower(rand.Text()[:10]) }
