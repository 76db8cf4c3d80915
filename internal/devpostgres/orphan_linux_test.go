package devpostgres

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/atrest/atrest/internal/child"
)

// helper starts a server and a PgBouncer, pauses the server if it is to, says so,
// and never ends by itself.
func helper() error {
	ctx := context.Background()
	s, err := Start(ctx, Options{})
	if err != nil {
		return err
	}
	b, err := s.StartBouncer(ctx)
	if err != nil {
		return err
	}
	if os.Getenv(helperVariable) == "paused" {
		if err := s.Pause(); err != nil {
			return err
		}
	}
	fmt.Println(s.cluster.path, b.dir.path)
	select {}
}

func TestKilledParentLeavesNoServer(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"running", "paused"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			testKilledParent(t, state)
		})
	}
}

func testKilledParent(t *testing.T, state string) {
	// Killed, it cannot remove its temporary directories; the test's goes anyway.
	temp := t.TempDir()
	var line string
	var before []string
	err := child.Orphan(func(said string) { line, before = said, processesIn(t, temp) }, helperVariable+"="+state, "TMPDIR="+temp)
	if err != nil || !strings.Contains(line, temp) {
		t.Fatalf("the parent said %q: %v", line, err)
	}
	// PostgreSQL's first process and some more, and PgBouncer.
	if len(before) < 4 {
		t.Fatalf("only the processes %v ran", before)
	}
	deadline := time.Now().Add(20 * time.Second)
	for left := before; len(left) > 0; left = processesIn(t, temp) {
		if time.Now().After(deadline) {
			t.Fatalf("the processes %v outlive their parent", left)
		}
		time.Sleep(child.PollInterval)
	}
}

// processesIn lists the processes that work in or below a directory.
func processesIn(t *testing.T, dir string) (processes []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		// Processes end meanwhile, and those of others are closed to us.
		if at, err := os.Readlink(link); err == nil && strings.HasPrefix(at, dir+"/") {
			processes = append(processes, filepath.Base(filepath.Dir(link)))
		}
	}
	return processes
}
