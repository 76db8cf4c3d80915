package transit_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"go.uber.org/goleak"

	"github.com/atrest/atrest/internal/devvault"
	"github.com/atrest/atrest/transit"
)

// shared is the Vault that all tests use which do not break theirs.
var shared *devvault.Server

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	ctx := context.Background()
	if shared, err = devvault.Shared(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := 1
	if err = shared.EnableTransit(ctx, "transit"); err == nil {
		code = m.Run()
	}
	if err = errors.Join(err, shared.Stop(), goleak.Find()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// wire counts the requests that a client makes, and keeps the last header.
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

// clientAt returns a client whose own retries would show in the counts.
func clientAt(t testing.TB, addr, token string) (*api.Client, *wire) {
	t.Helper()
	w := &wire{transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	c, err := api.NewClient(&api.Config{Address: addr, HttpClient: &http.Client{Transport: w}, MaxRetries: 5})
	if err != nil {
		t.Fatal(err)
	}
	c.SetToken(token)
	t.Cleanup(w.transport.CloseIdleConnections)
	return c, w
}

func rootClient(t testing.TB) (*api.Client, *wire) {
	t.Helper()
	return clientAt(t, shared.Addr(), shared.RootToken())
}

// ownVault starts a Vault for one test, which may break it.
func ownVault(t *testing.T) *devvault.Server {
	t.Helper()
	v := devvault.StartForTest(t)
	if err := v.EnableTransit(t.Context(), "transit"); err != nil {
		t.Fatal(err)
	}
	return v
}

// write makes a request as root and returns the answer's data.
func write(t testing.TB, path string, data map[string]any) map[string]any {
	t.Helper()
	c, _ := rootClient(t)
	s, err := c.Logical().Write(path, data)
	if err != nil {
		t.Fatal(err)
	}
	if s == nil {
		return nil
	}
	return s.Data
}

func newName() string { return "key-" + strings.ToLower(rand.Text()[:10]) }

// newKey makes a transit key with the settings and returns its name.
func newKey(t testing.TB, settings map[string]any) string {
	t.Helper()
	name := newName()
	write(t, "transit/keys/"+name, settings)
	return name
}

func derivedKey(t testing.TB) string { return newKey(t, map[string]any{"derived": true}) }

func open(t testing.TB, cfg transit.Config) *transit.Wrapper {
	t.Helper()
	w, err := transit.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// openNew returns a Wrapper on a new key, its client's wire, and its key.
func openNew(t testing.TB) (*transit.Wrapper, *wire, string) {
	t.Helper()
	c, wire := rootClient(t)
	key := derivedKey(t)
	w := open(t, transit.Config{Client: c, Key: key})
	wire.count()
	return w, wire, key
}

func newDataKey() []byte {
	b := make([]byte, 32)
	rand.Read(b)
	return b
}

func wrap(t testing.TB, w *transit.Wrapper, dataKey []byte, keyContext string) string {
	t.Helper()
	s, err := w.Wrap(t.Context(), dataKey, []byte(keyContext))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkUnwrap wants the data key in wrapped to be dataKey.
func checkUnwrap(t testing.TB, w *transit.Wrapper, wrapped, keyContext string, dataKey []byte) {
	t.Helper()
	got, err := w.Unwrap(t.Context(), wrapped, []byte(keyContext))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, dataKey) {
		t.Fatal("unwrapped another data key")
	}
}

// checkError wants err to be want, and to name the mount and the key.
func checkError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error is %v, want %v", err, want)
	} else if !strings.HasPrefix(err.Error(), "transit: ") || !strings.Contains(err.Error(), "transit/") {
		t.Errorf("error does not say with what: %v", err)
	}
}

// proxy is a server in front of Vault, which a test has alter real answers.
func proxy(t testing.TB, alter func(w http.ResponseWriter, r *http.Request, vault http.Handler)) string {
	t.Helper()
	to, err := url.Parse(shared.Addr())
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	vault := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: transport,
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { alter(w, r, vault) }))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		transport.CloseIdleConnections()
	})
	return s.URL
}

// openThrough opens a new key through a proxy that alters the answers to all
// but the reading of the key.
func openThrough(t testing.TB, cfg transit.Config, alter func(w http.ResponseWriter, r *http.Request, vault http.Handler)) (*transit.Wrapper, *wire) {
	t.Helper()
	addr := proxy(t, func(w http.ResponseWriter, r *http.Request, vault http.Handler) {
		if r.Method == http.MethodGet {
			vault.ServeHTTP(w, r)
			return
		}
		alter(w, r, vault)
	})
	c, wire := clientAt(t, addr, shared.RootToken())
	cfg.Client, cfg.Key = c, derivedKey(t)
	w := open(t, cfg)
	wire.count()
	return w, wire
}

// took fails the test unless the time since start is about want.
func took(t testing.TB, start time.Time, want time.Duration) {
	t.Helper()
	if d := time.Since(start); d < want || d > want+150*time.Millisecond {
		t.Errorf("took %s, want %s", d, want)
	}
}
