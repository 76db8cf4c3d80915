package postgres

import (
	"net/url"
	"strings"
	"testing"

	"github.com/atrest/atrest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// urlWith returns the URL of the server after a change.
func urlWith(t *testing.T, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	change(u)
	return u.String()
}

// TestRefusedConnection has all the ways in which no connection comes about. Each has
// its error, the remedy in it, and no password.
func TestRefusedConnection(t *testing.T) {
	t.Parallel()
	pool := newPool(t, server.URL())
	s := newStore(t, pool)
	limited, limitedURL := newRole(t, pool, server.URL())
	closed := newDatabase(t)
	_, strangerURL := newRole(t, pool, closed)
	at, err := pgxpool.ParseConfig(closed)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"ALTER ROLE " + limited + " CONNECTION LIMIT 0",
		"REVOKE CONNECT ON DATABASE " + quote(at.ConnConfig.Database) + " FROM PUBLIC",
	} {
		if _, err := pool.Exec(t.Context(), sql, pgx.QueryExecModeExec); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, url string
		want      error
		remedy    string
	}{
		{"wrong password", urlWith(t, func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "wrong-secret") }),
			atrest.ErrPermission, "not its password"},
		{"no role", urlWith(t, func(u *url.URL) { u.User = url.UserPassword("nobody", "secret") }),
			atrest.ErrPermission, "no such role"},
		{"no right to connect", strangerURL, atrest.ErrPermission, "CONNECT on the database"},
		{"no database", urlWith(t, func(u *url.URL) { u.Path = "/nowhere" }), atrest.ErrStorageMissing, "create the database"},
		{"no server", urlWith(t, func(u *url.URL) { u.Host = "127.0.0.1:1" }), atrest.ErrUnavailable, "is the server running"},
		{"too many connections", limitedURL, atrest.ErrUnavailable, "pool_max_conns"},
	} {
		pool := newPool(t, c.url)
		_, err := New(t.Context(), Config{Pool: pool})
		wantAll(t, c.name, map[string]error{"New": err}, c.want)
		if err != nil && !strings.Contains(err.Error(), c.remedy) {
			t.Errorf("%s: no remedy in %q", c.name, err)
		}
		wantAll(t, c.name, everyCall(t.Context(), elsewhere(s, pool)), c.want)
	}
}
