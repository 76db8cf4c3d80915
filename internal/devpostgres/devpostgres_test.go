package devpostgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestStartStop(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	dir := t.TempDir()
	s, err := Start(t.Context(), Options{Dir: dir, Log: &log})
	if err != nil {
		t.Fatal(err)
	}
	conn := connect(t, s.URL())
	checkText(t, conn, "SELECT current_user || '/' || current_database()", "atrest/atrest")
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		checkText(t, conn, "SHOW "+setting, "on")
	}
	if shown := fmt.Sprintf("%v %+v %#v", s, s, s); strings.Contains(shown, *s.cluster.password) {
		t.Error("fmt shows the password")
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	if code := s.process.ExitCode(); code != 0 {
		t.Errorf("server exited with %d, want 0", code)
	}
	if !strings.Contains(log.String(), "received fast shutdown request") {
		t.Errorf("the log lacks the server's output:\n%s", log.String())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("Stop left %v, %v", left, err)
	}
	if err := s.Kill(); !errors.Is(err, errStopped) {
		t.Errorf("Kill after Stop: %v, want %v", err, errStopped)
	}
}

func TestPasswordIsAsked(t *testing.T) {
	t.Parallel()
	s := plainServer.get(t)
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	if u.Host != s.Host() || !strings.HasPrefix(u.Host, "127.0.0.1:") {
		t.Errorf("host %s, Host = %s, want the same on the loopback", u.Host, s.Host())
	}
	u.User = url.UserPassword(owner, "wrong")
	if conn, err := pgx.Connect(t.Context(), u.String()); err == nil {
		conn.Close(t.Context())
		t.Error("a wrong password was accepted")
	}
}

func TestDatabase(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), plainServer.get(t)
	name := "TestX/Ünïcode and \"quotes\" " + strings.Repeat("long", 20)
	first, err := s.Database(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Database(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	if first == second {
		t.Error("two databases are one")
	}
	execSQL(t, connect(t, first), "CREATE TABLE x ()")
	conn := connect(t, second)
	checkText(t, conn, "SELECT count(*)::text FROM pg_tables WHERE schemaname = 'public'", "0")
	// The order is that of a language, not of bytes.
	checkText(t, conn, "SELECT string_agg(x, '' ORDER BY x) FROM unnest(ARRAY['B', 'a', 'Z', 'b']) x", "abBZ")
}

func TestSettings(t *testing.T) {
	t.Parallel()
	s := StartForTest(t, Options{Settings: map[string]string{"max_connections": "17", "application_name": `it's \n`}})
	conn := connect(t, s.URL())
	checkText(t, conn, "SHOW max_connections", "17")
	checkText(t, conn, "SHOW application_name", `it's \n`)

	_, err := Start(t.Context(), Options{Settings: map[string]string{"no_such_parameter": "1"}})
	if err == nil || !strings.Contains(err.Error(), "no_such_parameter") {
		t.Errorf("error = %v, want what the server printed", err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := tlsServer.get(t)
	conn := connect(t, s.URL())
	checkText(t, conn, "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()", "true")
	plain := strings.Replace(s.URL(), "verify-full", "disable", 1)
	if conn, err := pgx.Connect(t.Context(), plain); err == nil {
		conn.Close(t.Context())
		t.Error("a connection without TLS was accepted")
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	// In the midst of initdb, which takes longer than this anywhere.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if s, err := Start(ctx, Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Start = %v, %v, want %v", s, err, context.DeadlineExceeded)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("a start that failed left %v, %v", left, err)
	}
}

func TestMissingPrograms(t *testing.T) {
	t.Setenv(binaryVariable, t.TempDir())
	if _, err := Start(t.Context(), Options{}); !errors.Is(err, ErrNoBinary) || !strings.Contains(err.Error(), binaryVariable) {
		t.Errorf("error = %v, want %v and the variable's name", err, ErrNoBinary)
	}
}
