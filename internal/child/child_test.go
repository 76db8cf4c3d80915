//go:build unix

package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shell runs a script and waits for its first line.
func shell(t *testing.T, script string) (p *Process, firstLine string, out *Output) {
	t.Helper()
	lines := make(chan string, 100)
	out = &Output{Line: func(line string) { lines <- line }}
	p, err := Start(Command{Path: "/bin/sh", Args: []string{"-c", script}, Log: out})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	select {
	case line := <-lines:
		return p, line, out
	case <-p.Done():
		t.Fatalf("the script ended:\n%s", out.Tail())
	case <-time.After(10 * time.Second):
		t.Fatal("the script prints nothing")
	}
	return nil, "", nil
}

// family3 is a shell with a child and a grandchild, which prints their ids. The
// child would see a death of the grandchild, and say so.
const family3 = `sh -c 'sleep 100 & echo $$ $!; wait $!; echo bereaved' & wait`

func TestKillEndsTheFamily(t *testing.T) {
	t.Parallel()
	p, line, out := shell(t, family3)
	child, grandchild := twoIDs(t, line)
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{p.PID(), child, grandchild} {
		if !gone(pid) {
			t.Errorf("process %d lives on", pid)
		}
	}
	if strings.Contains(out.Tail(), "bereaved") {
		t.Error("a process saw another die before it")
	}
	if code := p.ExitCode(); code != -1 {
		t.Errorf("exit code %d, want -1", code)
	}
	if err := errors.Join(p.Kill(), p.Stop(0), p.Resume()); err != nil {
		t.Errorf("on a process that is gone: %v", err)
	}
	if err := p.Pause(); err == nil {
		t.Error("a process that is gone was paused")
	}
}

func twoIDs(t *testing.T, line string) (a, b int) {
	t.Helper()
	if _, err := fmt.Sscan(line, &a, &b); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return a, b
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	p, line, _ := shell(t, family3)
	child, grandchild := twoIDs(t, line)
	for range 2 {
		if err := p.Pause(); err != nil {
			t.Fatal(err)
		}
		for _, pid := range []int{p.PID(), child, grandchild} {
			if !stopped(pid) || gone(pid) {
				t.Errorf("process %d is not paused", pid)
			}
		}
		if err := p.Resume(); err != nil {
			t.Fatal(err)
		}
		for _, pid := range []int{p.PID(), child, grandchild} {
			for start := time.Now(); stopped(pid); time.Sleep(time.Millisecond) {
				if time.Since(start) > 10*time.Second {
					t.Fatalf("process %d is still paused", pid)
				}
			}
		}
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		script string
		fails  bool
		code   int
	}{
		"obeys":   {`trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done`, false, 7},
		"refuses": {`trap '' TERM; echo ready; while :; do sleep 0.01; done`, true, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _, _ := shell(t, test.script)
			if err := p.Pause(); err != nil {
				t.Fatal(err)
			}
			patience := time.Minute
			if test.fails {
				patience = 100 * time.Millisecond
			}
			if err := p.Stop(patience); (err != nil) != test.fails {
				t.Errorf("Stop = %v", err)
			}
			if code := p.ExitCode(); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
		})
	}
}

func TestStartServer(t *testing.T) {
	t.Parallel()
	start := func(script string, ask func(context.Context) error) (*Process, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return StartServer(ctx, Command{Path: "/bin/sh", Args: []string{"-c", script}}, ask)
	}
	never := errors.New("no answer")
	asked := 0
	p, err := start("exec sleep 100", func(context.Context) error {
		if asked++; asked < 3 {
			return never
		}
		return nil
	})
	if err != nil || asked != 3 {
		t.Fatalf("asked %d times: %v", asked, err)
	}
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
	for _, test := range []struct {
		script string
		want   error
		text   string
	}{
		{"echo bind: Address already in use", ErrAddressInUse, ""},
		{"echo no space left", nil, "no space left"},
		{"echo sleeping; exec sleep 100", context.DeadlineExceeded, "sleeping"},
		{"exec sleep 100", never, ""},
	} {
		_, err := start(test.script, func(context.Context) error { return never })
		if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v, want %v and %q", test.script, err, test.want, test.text)
		}
	}
}

func TestTryAddresses(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	var tried []string
	try := func(ctx context.Context, fixed string, last error) error {
		tried = nil
		return TryAddresses(ctx, fixed, func(address string) error {
			if tried = append(tried, address); len(tried) < 3 {
				return fmt.Errorf("start: %w", ErrAddressInUse)
			}
			return last
		})
	}
	if err := try(t.Context(), "", nil); err != nil || len(tried) != 3 || !strings.HasPrefix(tried[0], "127.0.0.1:") {
		t.Errorf("tried %q: %v", tried, err)
	}
	if err := try(t.Context(), "fixed:1", broken); !errors.Is(err, broken) || strings.Join(tried, " ") != "fixed:1 fixed:1 fixed:1" {
		t.Errorf("tried %q: %v", tried, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := try(ctx, "fixed:1", nil); !errors.Is(err, context.Canceled) || len(tried) != 1 {
		t.Errorf("tried %q: %v", tried, err)
	}
}

// TestThreadEnds starts children from threads that end right after. Were a child tied to
// its thread, it would die with it. There are two at once because one may be the main
// thread, which never ends.
func TestThreadEnds(t *testing.T) {
	t.Parallel()
	var locked, started sync.WaitGroup
	locked.Add(2)
	var children [2]*Process
	var errs [2]error
	for i := range children {
		started.Go(func() {
			runtime.LockOSThread() // and no unlock: the thread ends with the goroutine
			locked.Done()
			locked.Wait()
			children[i], errs[i] = Start(Command{Path: "/bin/sleep", Args: []string{"100"}})
		})
	}
	started.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // for the threads to be gone
	for _, p := range children {
		if p.ended() {
			t.Error("the child has ended")
		}
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	}
}

func TestStopSignal(t *testing.T) {
	t.Parallel()
	out := new(Output)
	p, err := Start(Command{Path: "/bin/sleep", Args: []string{"100"}, Log: out, StopSignal: syscall.SIGINT})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(time.Minute); err != nil {
		t.Fatal(err)
	}
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGINT {
		t.Errorf("ended by %v, want %v", p.cmd.ProcessState, syscall.SIGINT)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	if err := Run(t.Context(), Command{Path: "/bin/sh", Args: []string{"-c", "exit 0"}}); err != nil {
		t.Error(err)
	}
	err := Run(t.Context(), Command{Path: "/bin/sh", Args: []string{"-c", "echo the reason >&2; exit 3"}})
	if err == nil || !strings.Contains(err.Error(), "code 3") || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("error = %v, want the code and the output", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Run(ctx, Command{Path: "/bin/sleep", Args: []string{"100"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want %v", err, context.DeadlineExceeded)
	}
	if err := Run(t.Context(), Command{Path: "/no/such/program"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error = %v, want %v", err, os.ErrNotExist)
	}
}

// TestUser takes both ways: root becomes another, and others cannot.
func TestUser(t *testing.T) {
	t.Parallel()
	err := Run(t.Context(), Command{
		Path: "/bin/sh", Args: []string{"-c", `test "$(id -u) $(id -G)" = "65534 65533"`}, User: &User{UID: 65534, GID: 65533},
	})
	if root := os.Geteuid() == 0; root && err != nil || !root && !errors.Is(err, os.ErrPermission) {
		t.Errorf("as root %t: %v", root, err)
	}
}

func TestOutputKeepsTheEnd(t *testing.T) {
	t.Parallel()
	var to strings.Builder
	o := &Output{To: &to}
	for i := range 100 {
		fmt.Fprintf(o, "line %d\n", i)
	}
	fmt.Fprint(o, strings.Repeat("x", 2*maxLine))
	lines := strings.Split(o.Tail(), "\n")
	if len(lines) != tailLines+1 || lines[0] != "line 80" || len(lines[tailLines]) != maxLine {
		t.Errorf("the tail begins with %q, has %d lines, and ends with one of %d bytes", lines[0], len(lines), len(lines[len(lines)-1]))
	}
	if to.Len() != 790+2*maxLine {
		t.Errorf("%d bytes were passed on", to.Len())
	}
}
