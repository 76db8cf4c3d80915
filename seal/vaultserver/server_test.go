//go:build unix

package vaultserver

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/atrest/atrest"
)

func TestStartAndStop(t *testing.T) {
	t.Parallel()
	c, log := testConfig(t)
	s := startForTest(t, c)
	if got := health(t, s); got != http.StatusNotImplemented {
		t.Errorf("health = %d, want %d, not initialised", got, http.StatusNotImplemented)
	}
	pid := s.PID()
	if pid == 0 || gone(pid) || s.State() != Running || s.Err() != nil {
		t.Errorf("process %d, %v, %v", pid, s.State(), s.Err())
	}
	for path, want := range map[string]fs.FileMode{c.Dir: 0o700, filepath.Join(c.Dir, configFile): 0o600} {
		if got := mode(t, path); got != want {
			t.Errorf("%s has mode %v, want %v", path, got, want)
		}
	}
	log.await(t, "level=INFO", "component=vault", "security barrier not initialized")
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	if !gone(pid) || s.PID() != 0 || s.State() != Stopped || !errors.Is(s.Err(), ErrStopped) {
		t.Errorf("after Stop: process %d gone %t, PID %d, %v, %v", pid, gone(pid), s.PID(), s.State(), s.Err())
	}
	if _, err := os.Stat(filepath.Join(c.Dir, configFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the configuration is still there: %v", err)
	}
	if _, err := s.Await(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("Await = %v, want %v", err, ErrStopped)
	}
	if err := s.Restart(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("Restart = %v, want %v", err, ErrStopped)
	}
}

// TestKilled checks that a process that dies is replaced under the same address.
func TestKilled(t *testing.T) {
	t.Parallel()
	c, log := testConfig(t)
	s := startForTest(t, c)
	address := s.Addr()
	first, err := s.Await(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-first.Ended
	second, err := s.Await(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if second.Number <= first.Number || second.PID == first.PID || !gone(first.PID) {
		t.Errorf("first %+v, then %+v", first, second)
	}
	if s.Addr() != address {
		t.Errorf("the address changed from %s to %s", address, s.Addr())
	}
	if got := health(t, s); got != http.StatusNotImplemented {
		t.Errorf("health = %d", got)
	}
	log.await(t, "level=ERROR", "Vault has ended", "a signal")
}

// TestRestart checks that it is another process, which has forgotten what it had in
// memory.
func TestRestart(t *testing.T) {
	t.Parallel()
	c, _ := testConfig(t)
	s := startForTest(t, c)
	before := s.PID()
	initialise(t, s)
	if got := health(t, s); got != http.StatusOK {
		t.Fatalf("health = %d", got)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := health(t, s); got != http.StatusNotImplemented || !gone(before) || s.PID() == before {
		t.Errorf("health = %d, process %d, then %d", got, before, s.PID())
	}
}

// TestStopKills checks that neither an end of the patience nor of the context leaves a
// process that does not want to end, and that both are told.
func TestStopKills(t *testing.T) {
	t.Parallel()
	for name, patience := range map[string]time.Duration{"patience": 100 * time.Millisecond, "context": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := testConfig(t, func(c *Config) {
				c.StopTimeout = patience
				c.Binary = script(t, `trap '' TERM; `+c.Binary+` "$@" & while kill -0 $! 2>/dev/null; do wait $!; done`)
			})
			s, err := Start(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			pid := s.PID()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if name == "context" {
				cancel()
			}
			defer cancel()
			err = s.Stop(ctx)
			if err == nil || !strings.Contains(err.Error(), "killed") || errors.Is(err, context.Canceled) != (name == "context") {
				t.Errorf("Stop = %v", err)
			}
			if !gone(pid) {
				t.Errorf("process %d lives on", pid)
			}
			if conn, err := net.Dial("tcp", strings.TrimPrefix(s.Addr(), "http://")); err == nil {
				conn.Close()
				t.Error("there is still a listener")
			}
		})
	}
}

// TestDown kills a Vault that then does not start any more, and stops the server while
// it tries.
func TestDown(t *testing.T) {
	t.Parallel()
	flag := filepath.Join(t.TempDir(), "broken")
	c, log := testConfig(t, func(c *Config) {
		c.Binary = script(t, `if [ -e `+flag+` ]; then echo out of order; exit 7; fi; exec `+c.Binary+` "$@"`)
	})
	s := startForTest(t, c)
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	log.await(t, "did not start", "out of order", "exit code 7")
	if err := s.Err(); s.State() != Down || s.PID() != 0 || !errors.Is(err, atrest.ErrVaultUnavailable) || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("%v, process %d, %v", s.State(), s.PID(), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Await(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, atrest.ErrVaultUnavailable) {
		t.Errorf("Await = %v", err)
	}
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context()); err != nil { // which does not wait for the next try
		t.Fatal(err)
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end", func() bool { return s.State() == Down })
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDirectoryInUse(t *testing.T) {
	t.Parallel()
	c, _ := testConfig(t)
	first := startForTest(t, c)
	if s, err := Start(t.Context(), c); !errors.Is(err, ErrInUse) {
		t.Errorf("Start = %v, %v, want %v", s, err, ErrInUse)
	}
	if got := health(t, first); got != http.StatusNotImplemented {
		t.Errorf("health of the first = %d", got)
	}
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	startForTest(t, c)
}
