package devvault

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/atrest/atrest/internal/child"
)

// helper starts a server, prints its process id and never ends by itself.
//
// It starts the server from a thread that ends right after. Were the child tied
// to that thread, it would die with it, and the last line would not be printed.
func helper() error {
	type result struct {
		s   *Server
		err error
	}
	started := make(chan result)
	go func() {
		runtime.LockOSThread() // and no unlock: the thread ends with the goroutine
		s, err := Start(context.Background(), Options{})
		started <- result{s, err}
	}()
	r := <-started
	if r.err != nil {
		return r.err
	}
	time.Sleep(300 * time.Millisecond) // for the thread to be gone
	client, err := r.s.Client()
	if err != nil {
		return err
	}
	if _, err := client.Sys().Health(); err != nil {
		return err
	}
	fmt.Println(r.s.process.PID())
	select {}
}

func TestKilledParentLeavesNoServer(t *testing.T) {
	t.Parallel()
	parent := exec.Command(os.Args[0])
	// Killed, it cannot remove its temporary directory; the test's goes anyway.
	parent.Env = append(os.Environ(), helperVariable+"=1", "TMPDIR="+t.TempDir())
	parent.Stderr = os.Stderr
	stdout, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if killErr := parent.Process.Kill(); killErr != nil {
		t.Fatal(killErr)
	}
	_ = parent.Wait() // it was killed, and says so
	if err != nil {
		t.Fatalf("the parent said nothing: %v", err)
	}
	var pid int
	if _, err := fmt.Sscan(line, &pid); err != nil {
		t.Fatalf("the parent said %q: %v", line, err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for !gone(pid) {
		if time.Now().After(deadline) {
			t.Fatalf("the server, process %d, outlives its parent", pid)
		}
		time.Sleep(child.PollInterval)
	}
}

// gone reports whether a process no longer runs. Nobody may ever ask how an
// orphan ended, so one that has ended but is still listed counts as gone.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	var state string
	_, err = fmt.Sscanf(string(stat), fmt.Sprintf("%d (vault) %%s", pid), &state)
	return err == nil && state == "Z"
}
