package devpostgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestBouncerSharesConnections(t *testing.T) {
	t.Parallel()
	for name, shared := range map[string]*sharedServer{"plain": &plainServer, "TLS": &tlsServer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := shared.get(t)
			b := startBouncer(t, s)
			database, err := s.Database(t.Context(), "pooled")
			if err != nil {
				t.Fatal(err)
			}
			through, err := b.Through(database)
			if err != nil {
				t.Fatal(err)
			}
			for _, url := range []string{b.URL(), through} {
				processes := serverProcesses(t, url, 8*BouncerConnections)
				if len(processes) == 0 || len(processes) > BouncerConnections {
					t.Errorf("%d clients had %d server connections, want at most %d",
						8*BouncerConnections, len(processes), BouncerConnections)
				}
			}
			checkText(t, connect(t, through), "SELECT (current_database() LIKE 'pooled%')::text", "true")
			if _, err := b.Through("postgres://u:sesame@elsewhere/x"); err == nil || strings.Contains(err.Error(), "sesame") {
				t.Errorf("URL of another server: %v", err)
			}
		})
	}
}

func startBouncer(t *testing.T, s *Server) *Bouncer {
	t.Helper()
	b, err := s.StartBouncer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// serverProcesses opens connections, all at the same time, and returns the ids
// of the processes that served them.
func serverProcesses(t *testing.T, url string, connections int) map[int]bool {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := map[int]bool{}
	for range connections {
		conn := connect(t, url)
		wg.Go(func() {
			var pid int
			// No prepared statement, which would not survive a change of connection.
			err := conn.QueryRow(t.Context(), "SELECT pg_backend_pid()", pgx.QueryExecModeExec).Scan(&pid)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			seen[pid] = true
		})
	}
	wg.Wait()
	return seen
}

func TestBouncerStop(t *testing.T) {
	t.Parallel()
	s := plainServer.get(t)
	b := startBouncer(t, s)
	if shown := fmt.Sprintf("%v %+v %#v", b, b, b); strings.Contains(shown, *s.cluster.password) {
		t.Error("fmt shows the password")
	}
	conn := connect(t, b.URL())
	if err := errors.Join(b.Stop(), b.Stop()); err != nil {
		t.Error(err)
	}
	if err := conn.Ping(context.Background()); err == nil {
		t.Error("a stopped PgBouncer answered")
	}
	if _, err := os.Stat(b.dir.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stop left %s", b.dir.path)
	}
}
