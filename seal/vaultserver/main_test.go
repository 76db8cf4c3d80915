//go:build unix

package vaultserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/atrest/atrest/internal/child"
	"github.com/atrest/atrest/internal/devvault"
	"go.uber.org/goleak"
)

// helperVariable makes the test binary behave as another program; see
// orphan_linux_test.go.
const helperVariable = "VAULTSERVER_TEST_HELPER"

// hostile is in the environment of all tests. It would lead Vault to another database,
// and its clients to another server or as somebody else, if anybody looked at it.
var hostile = []string{
	"VAULT_PG_CONNECTION_URL=postgres://hostile@127.0.0.1:1/x", "VAULT_API_ADDR=http://192.0.2.1:1", "VAULT_CLUSTER_ADDR=https://192.0.2.1:2",
	"VAULT_ADDR=http://192.0.2.1:1", "VAULT_TOKEN=hostile", "VAULT_NAMESPACE=hostile", "VAULT_WRAP_TTL=1m",
	`VAULT_HEADERS={"hostile":"x"}`, "VAULT_SKIP_VERIFY=true", "HTTP_PROXY=http://192.0.2.1:1", "HTTPS_PROXY=http://192.0.2.1:1",
}

func TestMain(m *testing.M) {
	if os.Getenv(helperVariable) != "" {
		if err := helper(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	for _, entry := range hostile {
		name, value, _ := strings.Cut(entry, "=")
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}

// vaultBinary is the real Vault that the tests run.
func vaultBinary(t *testing.T) string {
	t.Helper()
	path, err := devvault.Binary()
	if err != nil {
		t.Fatalf("%v\nThe tests run against a real Vault: run `make tools` once to build it.", err)
	}
	return path
}

// testConfig is that of a Vault in memory, without TLS, on a port of its own, with a log
// that can be read.
func testConfig(t *testing.T, change ...func(*Config)) (Config, *logBook) {
	t.Helper()
	log := new(logBook)
	c := Config{
		Binary:  vaultBinary(t),
		Dir:     filepath.Join(t.TempDir(), "vault"),
		Address: "127.0.0.1:0",
		Storage: InMemory(),
		TLS:     NoTLS{},
		Logger:  slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: levelTrace})),
	}
	for _, f := range change {
		f(&c)
	}
	return c, log
}

// startForTest starts a server and stops it with the test, which must not fail.
func startForTest(t *testing.T, c Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// startInVain starts a server until its log has a text twice, and returns the error. By
// the second time, what came of the first is known.
func startInVain(t *testing.T, until string, change ...func(*Config)) error {
	t.Helper()
	_, err := startInVainLogged(t, until, change...)
	return err
}

func startInVainLogged(t *testing.T, until string, change ...func(*Config)) (logged string, err error) {
	t.Helper()
	c, log := testConfig(t, change...)
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for strings.Count(log.String(), until) < 2 && ctx.Err() == nil {
			time.Sleep(child.PollInterval)
		}
		cancel()
	}()
	s, err := Start(ctx, c)
	if err == nil {
		t.Fatal("started", s.Stop(t.Context()))
	}
	cancel()
	<-watched
	return log.String(), err
}

// logBook keeps what is logged.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until the log has all of the parts in one line.
func (l *logBook) await(t *testing.T, parts ...string) {
	t.Helper()
	waitFor(t, fmt.Sprintf("a line with %q in the log", parts), func() bool {
		for line := range strings.SplitSeq(l.String(), "\n") {
			found := true
			for _, part := range parts {
				found = found && strings.Contains(line, part)
			}
			if found {
				return true
			}
		}
		return false
	})
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(child.PollInterval) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain for %s", what)
		}
	}
}

// health is the status with which the server answers sys/health.
func health(t *testing.T, s *Server) int {
	t.Helper()
	client := http.Client{Transport: s.transport, Timeout: 10 * time.Second}
	resp, err := client.Get(s.Addr() + "/v1/sys/health")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// script writes a program.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}
