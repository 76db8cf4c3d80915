package disk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// childEnv holds an order, if this process is a child of the tests.
const childEnv = "ATREST_DISK_TEST_CHILD"

// An order says what a child process does.
type order struct {
	Dir  string
	Task string
	// Scenario and KillAt are for "crash": which change, and before which of
	// its steps the process kills itself.
	Scenario, KillAt int
	// Arg is the task's own.
	Arg string
}

// runChild carries out the order if there is one. It prints the outcome.
func runChild() bool {
	text, ok := os.LookupEnv(childEnv)
	if !ok {
		return false
	}
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		panic(err)
	}
	if err := tasks[o.Task](context.Background(), o); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	return true
}

var tasks map[string]func(context.Context, order) error

func init() {
	tasks = map[string]func(context.Context, order) error{
		"crash":     crashTask,
		"crashNew":  crashNewTask,
		"increment": incrementTask,
		"absent":    absentTask,
		"slowPut":   slowPutTask,
		"fileSize":  fileSizeTask,
	}
}

// child returns the command that carries out an order.
func child(t *testing.T, o order) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	return cmd
}

// killed tells that a process died of SIGKILL, and fails the test if it ended
// in another way than that or success.
func killed(t *testing.T, out []byte, err error) bool {
	t.Helper()
	if err == nil {
		return false
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			return true
		}
	}
	t.Fatalf("child: %v\n%s", err, out)
	return false
}

func dieHere(func() error) error {
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func crashTask(ctx context.Context, o order) error {
	f := &fault{n: o.KillAt, act: dieHere}
	s, err := New(ctx, Config{Dir: o.Dir, hook: f.hook})
	if err != nil {
		return err
	}
	f.armed = true
	sc := scenarios[o.Scenario]
	return errors.Join(sc.do(ctx, s, sc), s.Close())
}

// TestKillAtEachStep kills a process before each step of each change in turn.
func TestKillAtEachStep(t *testing.T) {
	for i, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				dir := prepareScenario(t, sc)
				out, err := child(t, order{Dir: dir, Task: "crash", Scenario: i, KillAt: n}).CombinedOutput()
				if !killed(t, out, err) {
					checkScenario(t, dir, sc.to)
					if n < 6 {
						t.Errorf("only %d steps were seen", n)
					}
					return
				}
				checkScenario(t, dir, sc.from, sc.to)
				if t.Failed() {
					t.Fatalf("killed before step %d", n)
				}
			}
		})
	}
}

func crashNewTask(ctx context.Context, o order) error {
	f := &fault{n: o.KillAt, act: dieHere, armed: true}
	s, err := New(ctx, Config{Dir: o.Dir, hook: f.hook})
	if err != nil {
		return err
	}
	return s.Close()
}

// TestKillNew kills a process in the middle of New, on a directory that is
// empty and on one in which another process has left everything to sweep.
func TestKillNew(t *testing.T) {
	t.Run("empty", func(t *testing.T) {
		for n := 1; ; n++ {
			dir := t.TempDir() + "/store"
			out, err := child(t, order{Dir: dir, Task: "crashNew", KillAt: n}).CombinedOutput()
			again := killed(t, out, err)
			s, err := New(t.Context(), Config{Dir: dir})
			if err != nil {
				t.Fatalf("killed before step %d: %v", n, err)
			}
			s.Close()
			wantResidue(t, dir)
			if !again {
				return
			}
		}
	})
	t.Run("sweeping", func(t *testing.T) {
		sc := scenarios[5] // big over big, killed after the rename
		for n := 1; ; n++ {
			dir := prepareScenario(t, sc)
			out, err := child(t, order{Dir: dir, Task: "crash", Scenario: 5, KillAt: 14}).CombinedOutput()
			if !killed(t, out, err) {
				t.Fatal("the first child was not killed")
			}
			out, err = child(t, order{Dir: dir, Task: "crashNew", KillAt: n}).CombinedOutput()
			again := killed(t, out, err)
			checkScenario(t, dir, sc.from, sc.to)
			if !again || t.Failed() {
				return
			}
		}
	})
}

func wantResidue(t *testing.T, dir string, want ...string) {
	t.Helper()
	if got := residue(t, dir); len(got) != len(want) {
		t.Errorf("residue %q, want %q", got, want)
	}
}

// incrementTask adds to a counter by compare-and-swap until it has won o.KillAt
// times, in the body (Put) or in the header (SetHeader).
func incrementTask(ctx context.Context, o order) error {
	s, err := New(ctx, Config{Dir: o.Dir})
	if err != nil {
		return err
	}
	defer s.Close()
	for won := 0; won < o.KillAt; {
		obj, err := s.Get(ctx, "counter", backend.All, "")
		if err != nil {
			return err
		}
		body, err := io.ReadAll(obj.Body)
		obj.Body.Close()
		if err != nil {
			return err
		}
		if o.Arg == "put" {
			_, err = s.Put(ctx, "counter", obj.Header, bytes.NewReader(append(body, make([]byte, 2000)...)), backend.Condition{IfVersion: obj.Version})
		} else {
			var n int
			fmt.Sscan(string(obj.Header), &n)
			err = s.SetHeader(ctx, backend.HeaderUpdate{Name: "counter", Version: obj.Version, Old: obj.Header, New: fmt.Append(nil, n+1)})
		}
		switch {
		case err == nil:
			won++
		case !errors.Is(err, atrest.ErrConflict):
			return err
		}
	}
	return nil
}

// absentTask puts objects that must not be there, and prints those it won.
func absentTask(ctx context.Context, o order) error {
	s, err := New(ctx, Config{Dir: o.Dir})
	if err != nil {
		return err
	}
	defer s.Close()
	for i := range 60 {
		name := fmt.Sprintf("absent/%d", i)
		_, err := s.Put(ctx, name, []byte(o.Arg), strings.NewReader(o.Arg), backend.Condition{IfAbsent: true})
		switch {
		case err == nil:
			fmt.Println("won", name)
		case !errors.Is(err, atrest.ErrExists):
			return err
		}
	}
	return nil
}

// slowPutTask begins a put, prints a line when its body file is there, and ends
// it when standard input does.
func slowPutTask(ctx context.Context, o order) error {
	s, err := New(ctx, Config{Dir: o.Dir})
	if err != nil {
		return err
	}
	defer s.Close()
	body := io.MultiReader(bytes.NewReader(newBig.body()), &waiter{})
	_, err = s.Put(ctx, target, []byte(newBig.header), body, backend.Condition{})
	return err
}

// A waiter is an empty body that takes until standard input ends.
type waiter struct{}

func (*waiter) Read([]byte) (int, error) {
	fmt.Println("waiting")
	io.Copy(io.Discard, os.Stdin)
	return 0, io.EOF
}

// fileSizeTask puts under a limit of the size of files, which is a disk that
// becomes full in the middle of a body.
func fileSizeTask(ctx context.Context, o order) error {
	s, err := New(ctx, Config{Dir: o.Dir})
	if err != nil {
		return err
	}
	defer s.Close()
	signal.Ignore(syscall.SIGXFSZ)
	limit := syscall.Rlimit{Cur: big / 2, Max: big * 2}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	_, err = s.Put(ctx, target, []byte(newBig.header), bytes.NewReader(newBig.body()), backend.Condition{})
	if !errors.Is(err, syscall.EFBIG) || strings.Contains(err.Error(), o.Dir) {
		return fmt.Errorf("put returned %w", err)
	}
	return is(ctx, s, target, oldBig)
}
