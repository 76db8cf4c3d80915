package devpostgres

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestServerOfEnvironment(t *testing.T) {
	t.Setenv(urlVariable, "")
	ctx, real := t.Context(), plainServer.get(t)
	t.Setenv(urlVariable, real.URL())
	s, err := Start(ctx, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s.URL() != real.URL() || s.Host() != real.Host() {
		t.Errorf("%s and %s, want the server of the variable", s.URL(), s.Host())
	}
	database, err := s.Database(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	connect(t, database) // left open: it must not keep Stop from dropping the database
	_, bouncerErr := s.StartBouncer(ctx)
	_, optionErr := Start(ctx, Options{TLS: true})
	for _, err := range []error{s.Kill(), s.Pause(), s.Resume(), s.Restart(ctx), bouncerErr, optionErr} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("error = %v, want %v", err, errors.ErrUnsupported)
		}
	}
	if err := errors.Join(s.Stop(), s.Stop()); err != nil {
		t.Error(err)
	}
	checkText(t, connect(t, real.URL()), "SELECT count(*)::text FROM pg_database WHERE datname LIKE 'x%'", "0")
	if conn, err := pgx.Connect(ctx, database); err == nil {
		conn.Close(ctx)
		t.Error("the database is still there")
	}
}

func TestBadServerOfEnvironment(t *testing.T) {
	for _, value := range []string{"host=/tmp password=sesame", "postgres://u:sesame@%zz/", "postgres://u:sesame@127.0.0.1:1/x"} {
		t.Setenv(urlVariable, value)
		_, err := Start(t.Context(), Options{})
		if err == nil || !strings.Contains(err.Error(), urlVariable) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: error = %v, want one that names the variable and shows no password", value, err)
		}
	}
}
