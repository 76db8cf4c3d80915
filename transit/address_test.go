package transit_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/transit"
)

// anywhere returns a client whose every connection ends at the shared Vault,
// whatever host it was to go to, as through a tunnel.
func anywhere(t *testing.T, addr string) (*api.Client, *wire) {
	t.Helper()
	c, w := clientAt(t, addr, shared.RootToken())
	w.transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(shared.Addr(), "http://"))
	}
	return c, w
}

// Data keys are not sent in the clear to another machine.
func TestOpenRefusesPlaintext(t *testing.T) {
	for _, addr := range []string{
		"http://vault.example.com:8200", "http://10.0.0.7:8200", "HTTP://vault.example.com", "http://user:hunter2@vault.example.com",
		"http://localhost.example.com", "http://[2001:db8::1]:8200", "ftp://vault.example.com",
	} {
		c, wire := anywhere(t, addr)
		for _, allowed := range [][]string{nil, {"example.com", "vault", "10.0.0.8"}} {
			_, err := transit.Open(t.Context(), transit.Config{Client: c, Key: "k", PlaintextHosts: allowed})
			if !errors.Is(err, atrest.ErrPlaintextConnection) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v, want ErrPlaintextConnection", addr, err)
			}
		}
		if n := wire.count(); n != 0 {
			t.Errorf("%s: %d requests", addr, n)
		}
	}
}

func TestOpenAllowsPlaintext(t *testing.T) {
	key := derivedKey(t)
	for addr, allowed := range map[string][]string{
		"http://vault.example.com:8200": {"other", "Vault.Example.com"},
		"http://10.0.0.7":               {"10.0.0.7"},
		"http://localhost:8200":         nil,
		"http://[::1]:8200":             nil,
	} {
		c, _ := anywhere(t, addr)
		w := open(t, transit.Config{Client: c, Key: key, PlaintextHosts: allowed})
		dataKey := newDataKey()
		checkUnwrap(t, w, wrap(t, w, dataKey, "here"), "here", dataKey)
	}
	// TLS is not ours to judge: here it fails at the handshake.
	c, _ := anywhere(t, "https://vault.example.com")
	_, err := transit.Open(t.Context(), transit.Config{Client: c, Key: key, MaxTries: 1})
	checkError(t, err, atrest.ErrVaultUnavailable)
}

func TestUnixSocket(t *testing.T) {
	to, err := url.Parse(shared.Addr())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "vault.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	s := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, Transport: transport,
	})
	s.Listener.Close()
	s.Listener = listener
	s.Start()
	defer transport.CloseIdleConnections()
	defer s.Close()
	own := &http.Transport{}
	defer own.CloseIdleConnections()
	c, err := api.NewClient(&api.Config{Address: "unix://" + path, HttpClient: &http.Client{Transport: own}})
	if err != nil {
		t.Fatal(err)
	}
	c.SetToken(shared.RootToken())
	w := open(t, transit.Config{Client: c, Key: derivedKey(t)})
	dataKey := newDataKey()
	checkUnwrap(t, w, wrap(t, w, dataKey, "here"), "here", dataKey)
}

// A redirect may not lead where Open would have refused to go.
func TestRedirectToPlaintext(t *testing.T) {
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect} {
		w, wire := openThrough(t, transit.Config{PlaintextHosts: []string{"standby.example.com"}}, func(rw http.ResponseWriter, r *http.Request, _ http.Handler) {
			http.Redirect(rw, r, "http://vault.example.com"+r.URL.Path, status)
		})
		_, err := w.Wrap(t.Context(), newDataKey(), []byte("here"))
		checkError(t, err, atrest.ErrPlaintextConnection)
		if n := wire.count(); n != 1 {
			t.Errorf("%d: %d requests", status, n)
		}
	}
}

// Who has several Vaults learns which one is meant.
func TestErrorsNameTheServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := listener.Addr().String()
	listener.Close() // nobody is there now
	c, _ := clientAt(t, "http://user:hunter2@"+host, shared.RootToken())
	_, err = transit.Open(t.Context(), transit.Config{Client: c, Key: "k", MaxTries: 1})
	checkError(t, err, atrest.ErrVaultUnavailable)
	if text := err.Error(); !strings.Contains(text, " at http://"+host+": ") || strings.Contains(text, "hunter2") || strings.Contains(text, "user") {
		t.Error(text)
	}
}

func TestNoToken(t *testing.T) {
	key := derivedKey(t)
	c, _ := clientAt(t, shared.Addr(), "")
	_, err := transit.Open(t.Context(), transit.Config{Client: c, Key: key})
	checkError(t, err, atrest.ErrPermission)
	if !strings.Contains(err.Error(), "the client has no token") {
		t.Error(err)
	}
	c.SetToken(shared.RootToken())
	w := open(t, transit.Config{Client: c, Key: key})
	c.ClearToken()
	_, err = w.Wrap(t.Context(), newDataKey(), []byte("here"))
	checkError(t, err, atrest.ErrPermission)
	if !strings.Contains(err.Error(), "the client has no token") {
		t.Error(err)
	}
	c.SetToken("none of Vault's")
	_, err = w.Wrap(t.Context(), newDataKey(), []byte("here"))
	checkError(t, err, atrest.ErrPermission)
	if strings.Contains(err.Error(), "has no token") {
		t.Error(err)
	}
}

// Without TLS a proxy reads data keys, also those that are for this machine.
func TestOpenRefusesPlaintextProxy(t *testing.T) {
	key := derivedKey(t)
	through := func(addr, proxy string) *api.Client {
		c, wire := anywhere(t, addr)
		wire.transport.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy) }
		config := c.CloneConfig()
		config.HttpClient.Transport = wire.transport
		c, err := api.NewClient(config)
		if err != nil {
			t.Fatal(err)
		}
		c.SetToken(shared.RootToken())
		return c
	}
	for _, proxy := range []string{"http://proxy.example.com:3128", "https://user:hunter2@proxy.example.com"} {
		for _, addr := range []string{shared.Addr(), "http://vault.example.com"} {
			cfg := transit.Config{Client: through(addr, proxy), Key: key, PlaintextHosts: []string{"vault.example.com"}}
			_, err := transit.Open(t.Context(), cfg)
			if !errors.Is(err, atrest.ErrPlaintextConnection) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s through %s: %v, want ErrPlaintextConnection", addr, proxy, err)
			}
		}
	}
	// Every connection ends at Vault itself, which answers what is asked through a proxy.
	open(t, transit.Config{Client: through(shared.Addr(), "http://proxy.example.com"), Key: key, PlaintextHosts: []string{"proxy.example.com"}})
	open(t, transit.Config{Client: through(shared.Addr(), "http://127.0.0.1:3128"), Key: key})
	// TLS goes through a proxy unread: here it fails at CONNECT.
	cfg := transit.Config{Client: through("https://vault.example.com", "http://proxy.example.com"), Key: key, MaxTries: 1}
	_, err := transit.Open(t.Context(), cfg)
	checkError(t, err, atrest.ErrVaultUnavailable)
}
