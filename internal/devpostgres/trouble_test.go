package devpostgres

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestTrouble has one server for one trouble after the other.
func TestTrouble(t *testing.T) {
	t.Parallel()
	s := StartForTest(t)
	for _, trouble := range []struct {
		name string
		test func(*testing.T, *Server)
	}{
		{"RestartAndKillKeepData", testRestartAndKillKeepData},
		{"KillEndsBusyProcesses", testKillEndsBusyProcesses},
		{"RestartWaitsForItsPort", testRestartWaitsForItsPort},
		{"Pause", testPause}, // the last: it leaves the server paused
	} {
		if !t.Run(trouble.name, func(t *testing.T) { trouble.test(t, s) }) {
			return
		}
	}
}

func testRestartAndKillKeepData(t *testing.T, s *Server) {
	ctx := t.Context()
	host := s.Host()
	execSQL(t, connect(t, s.URL()), "CREATE TABLE kept AS SELECT 'first' AS x")
	if err := s.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if s.Host() != host {
		t.Errorf("address changed from %s to %s", host, s.Host())
	}
	conn := connect(t, s.URL())
	checkText(t, conn, "SELECT x FROM kept", "first")
	execSQL(t, conn, "UPDATE kept SET x = 'second'")
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(); err != nil {
		t.Errorf("second Kill: %v", err)
	}
	if _, err := conn.Exec(ctx, "SELECT 1"); err == nil {
		t.Error("a killed server answered")
	}
	if other, err := pgx.Connect(ctx, s.URL()); err == nil {
		other.Close(ctx)
		t.Error("a killed server accepted a connection")
	}
	if err := s.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	checkText(t, connect(t, s.URL()), "SELECT x FROM kept", "second")
}

// testKillEndsBusyProcesses kills a server in the midst of a statement that
// would go on by itself, and then one that is paused.
func testKillEndsBusyProcesses(t *testing.T, s *Server) {
	ctx := t.Context()
	conn, failed := connect(t, s.URL()), make(chan error, 1)
	go func() {
		_, err := conn.Exec(ctx, "SELECT count(*) FROM generate_series(1, 1000000000)")
		failed <- err
	}()
	watch := connect(t, s.URL())
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		var busy bool
		err := watch.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%generate_series(1, 1%' AND state = 'active' AND pid <> pg_backend_pid())").Scan(&busy)
		if err != nil || time.Since(start) > time.Minute {
			t.Fatal("the statement does not run", err)
		}
		if busy {
			break
		}
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-failed:
		if err == nil {
			t.Error("the statement succeeded")
		}
	case <-time.After(5 * time.Second):
		t.Error("the statement's process lives on")
		conn.Close(ctx)
		<-failed
	}
	if err := s.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Pause(), s.Kill(), s.Restart(ctx)); err != nil {
		t.Fatal(err)
	}
	checkText(t, connect(t, s.URL()), "SELECT 'x'", "x")
}

func testPause(t *testing.T, s *Server) {
	conn := connect(t, s.URL())
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "SELECT 1") // by a process of its own
		answered <- err
	}()
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if other, err := pgx.Connect(short, s.URL()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a paused server answered: %v, %v", other, err)
	}
	select {
	case err := <-answered:
		t.Fatalf("a paused server answered on a connection it had: %v", err)
	default:
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Errorf("after Resume: %v", err)
	}
	// The clean-up stops a server that is paused.
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
}

func testRestartWaitsForItsPort(t *testing.T, s *Server) {
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	squatter, err := net.Listen("tcp", s.Host())
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Restart(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Restart on a taken port: %v, want %v", err, context.DeadlineExceeded)
	}
	released := time.AfterFunc(300*time.Millisecond, func() { squatter.Close() })
	defer released.Stop()
	if err := s.Restart(t.Context()); err != nil {
		t.Errorf("Restart after the port was released: %v", err)
	}
}
