package devpostgres

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// helperVariable makes the test binary behave as another program; see orphan_linux_test.go.
const helperVariable = "DEVPOSTGRES_TEST_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperVariable) != "" {
		if err := helper(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(withShared{m})
}

// A sharedServer is one that all tests share that do it no harm, started by the
// first of them.
type sharedServer struct {
	options Options
	once    sync.Once
	server  *Server
	err     error
}

var plainServer, tlsServer = sharedServer{}, sharedServer{options: Options{TLS: true}}

func (s *sharedServer) get(t *testing.T) *Server {
	t.Helper()
	s.once.Do(func() { s.server, s.err = Start(context.Background(), s.options) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.server
}

// withShared runs the tests and stops what they shared.
type withShared struct{ m *testing.M }

func (w withShared) Run() int {
	code := w.m.Run()
	for _, shared := range []*sharedServer{&plainServer, &tlsServer} {
		if shared.server == nil {
			continue
		}
		if err := shared.server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

// connect connects for the length of the test.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // the server may be gone by then
	return conn
}

func execSQL(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// checkText requires that a query answers one text.
func checkText(t *testing.T, conn *pgx.Conn, sql, want string) {
	t.Helper()
	var got string
	if err := conn.QueryRow(t.Context(), sql).Scan(&got); err != nil {
		t.Errorf("%s: %v", sql, err)
	} else if got != want {
		t.Errorf("%s = %q, want %q", sql, got, want)
	}
}
