package seal_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/atrest/atrest/internal/devpostgres"
	"github.com/atrest/atrest/seal"
)

// TestLeaderHangs boots a node while the active one does not answer any more, nor gives up
// its place: Vault's lock in PostgreSQL is honoured for 15 seconds. Boot waits for that to
// pass, and ends well.
func TestLeaderHangs(t *testing.T) {
	t.Parallel()
	database, err := devpostgres.StartForTest(t).Database(t.Context(), "leader_"+strings.ToLower(rand.Text()[:8]))
	if err != nil {
		t.Fatal(err)
	}
	password := seal.GeneratePassword()
	first := newNode(t, database)
	if err := first.manager.Boot(t.Context(), password); err != nil {
		t.Fatal(err)
	}
	pid := vaultOf(t, first)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the node's own
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	})
	second := newNode(t, database)
	began := time.Now()
	if err := second.manager.Recover(t.Context(), password); err != nil {
		t.Fatalf("after %v: %v", time.Since(began), err)
	}
	if err := second.service(t.Context()); err != nil {
		t.Error(err)
	}
	t.Logf("it took %v", time.Since(began))
}

// vaultOf returns the process id of a node's Vault, whose directory is in its arguments.
func vaultOf(t *testing.T, n *node) int {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range processes {
		args, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(args), n.dir) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && pid != os.Getpid() {
			return pid
		}
	}
	t.Fatal("no process of the node was found")
	return 0
}
