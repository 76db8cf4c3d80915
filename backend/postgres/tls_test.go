package postgres

import (
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/devpostgres"
)

// TestTLS has a server that accepts nothing but TLS, and clients that check whom they
// talk to.
func TestTLS(t *testing.T) {
	t.Parallel()
	own, err := devpostgres.Start(t.Context(), devpostgres.Options{TLS: true})
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("a server with TLS is NOT tested:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Stop(); err != nil {
			t.Error(err)
		}
	})
	if !strings.Contains(own.URL(), "sslmode=verify-full") {
		t.Fatal("the server's URL does not ask for verify-full")
	}
	s := newStore(t, newPool(t, own.URL()))
	allOperations(t, s)
	cancelBlockedPut(t, s) // the request to cancel is a connection of its own
	var plain int
	if err := s.pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE backend_type = 'client backend' AND NOT ssl").Scan(&plain); err != nil || plain > 0 {
		t.Errorf("%d connections are without TLS, %v", plain, err)
	}

	for name, c := range map[string]struct {
		change func(*url.URL, url.Values)
		remedy string
		want   error
	}{
		"another authority": {func(_ *url.URL, q url.Values) { q.Set("sslrootcert", otherAuthority(t)) }, "sslrootcert", nil},
		"another host":      {func(u *url.URL, _ url.Values) { u.Host = "localhost:" + u.Port() }, "the host there", nil},
		"without TLS":       {func(_ *url.URL, q url.Values) { q.Set("sslmode", "disable") }, "sslmode", atrest.ErrPermission},
	} {
		u, err := url.Parse(own.URL())
		if err != nil {
			t.Fatal(err)
		}
		query := u.Query()
		c.change(u, query)
		u.RawQuery = query.Encode()
		_, err = New(t.Context(), Config{Pool: newPool(t, u.String()), Schema: s.schema})
		if err == nil || errors.Is(err, atrest.ErrUnavailable) || !errors.Is(err, c.want) && c.want != nil || !strings.Contains(err.Error(), c.remedy) {
			t.Errorf("%s: %v, want an error with the remedy", name, err)
		}
	}
}

// otherAuthority is the file of a certificate that the server's is not signed with.
func otherAuthority(t *testing.T) string {
	t.Helper()
	other := httptest.NewTLSServer(http.NotFoundHandler())
	defer other.Close()
	file := filepath.Join(t.TempDir(), "other.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.Certificate().Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestServerWithoutTLS asks one for TLS that has none.
func TestServerWithoutTLS(t *testing.T) {
	t.Parallel()
	pool := newPool(t, server.URL())
	var has string
	if err := pool.QueryRow(t.Context(), "SHOW ssl").Scan(&has); err != nil {
		t.Fatal(err)
	}
	if has == "on" {
		t.Skip("a server without TLS is NOT tested: this one has it")
	}
	s := newStore(t, pool)
	for _, mode := range []string{"require", "verify-full"} {
		asking := newPool(t, urlWith(t, func(u *url.URL) { u.RawQuery = "sslmode=" + mode }))
		_, err := New(t.Context(), Config{Pool: asking, Schema: s.schema})
		wantAll(t, mode, map[string]error{"New": err}, atrest.ErrUnsupported)
		if err != nil && !strings.Contains(err.Error(), "ssl = on") {
			t.Errorf("no remedy in %q", err)
		}
		wantAll(t, mode, everyCall(t.Context(), elsewhere(s, asking)), atrest.ErrUnsupported)
	}
}
