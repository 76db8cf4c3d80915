//go:build unix

package beside

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/atrest/atrest/internal/beside/besidetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	besidetest.BeProgram(program)
	goleak.VerifyTestMain(m)
}

// program starts two directories as its servers, or one that fails.
func program() {
	flags := flag.NewFlagSet("program", flag.ContinueOnError)
	fail := flags.String("fail", "", "what fails: start or stop")
	p := Program{Flags: flags, Synopsis: "[-fail WHAT]", Start: func(_ context.Context, servers *Servers) error {
		if err := makeDir(servers, "first"); err != nil {
			return err
		}
		servers.Replace("OTHER_")
		servers.Set("FIRST=1", "OTHER_HOST=here")
		if *fail == "start" {
			return errors.New("the second does not start")
		}
		if *fail == "stop" {
			servers.OnStop(func() error { return errors.New("the second does not stop") })
			return nil
		}
		// Within the first, which can be removed only after it.
		return makeDir(servers, "first/second")
	}}
	os.Exit(p.Run(os.Args[1:]))
}

func makeDir(servers *Servers, name string) error {
	dir := filepath.Join(os.TempDir(), name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	servers.OnStop(func() error { return os.Remove(dir) })
	servers.Describe(name + " is made")
	return nil
}

func TestEnvironmentAndExitCode(t *testing.T) {
	t.Parallel()
	got := besidetest.Run(t, []string{"OTHER_USER=x", "OTHER_HOST=elsewhere", "THEIRS=2"},
		"--", "sh", "-c", `echo "$FIRST $THEIRS $OTHER_HOST user=$OTHER_USER"; test -d "$TMPDIR/first/second" && exit 7`)
	want := besidetest.Result{
		Code: 7, Stdout: "1 2 here user=\n",
		Stderr: "program: first is made\nprogram: first/second is made\n",
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestQuiet(t *testing.T) {
	t.Parallel()
	if got := besidetest.Run(t, nil, "-quiet", "--", "true"); got != (besidetest.Result{}) {
		t.Errorf("got %+v, want code 0 and no output", got)
	}
}

func TestCodesOfItsOwn(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		args   []string
		code   int
		reason string
	}{
		"help":             {[]string{"-h"}, 0, "Usage: program [-fail WHAT] [-quiet] -- COMMAND ARGS..."},
		"no command":       {nil, 2, "no COMMAND"},
		"unknown flag":     {[]string{"-x", "--", "true"}, 2, "-x"},
		"not found":        {[]string{"--", "no-such-command"}, 127, "no-such-command"},
		"no such path":     {[]string{"--", "/no/such/command"}, 127, "/no/such/command"},
		"not executable":   {[]string{"--", file}, 126, file},
		"signalled":        {[]string{"--", "sh", "-c", "kill -TERM $$"}, 128 + 15, ""},
		"does not start":   {[]string{"-fail", "start", "--", "true"}, 125, "the second does not start"},
		"does not stop":    {[]string{"-fail", "stop", "--", "true"}, 125, "the second does not stop"},
		"fails both times": {[]string{"-fail", "stop", "--", "false"}, 1, "the second does not stop"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := besidetest.Run(t, nil, test.args...); got.Code != test.code || !strings.Contains(got.Stderr, test.reason) {
				t.Errorf("got %+v, want code %d and %q", got, test.code, test.reason)
			}
		})
	}
}

func TestForwardsSignals(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			cmd, tempDir := besidetest.Command(t, "-quiet", "--", "sh", "-c",
				`trap 'exit 42' INT TERM HUP; echo ready; while :; do sleep 0.05; done`)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := stdout.Read(make([]byte, 16)); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // a code other than 0 is what we look for
			if code := cmd.ProcessState.ExitCode(); code != 42 {
				t.Errorf("exit code %d, want the command's 42", code)
			}
			if left, err := os.ReadDir(tempDir); err != nil || len(left) > 0 {
				t.Errorf("left %v, %v", left, err)
			}
		})
	}
}

// TestInterruptedStart has the signal arrive while the servers start: they must
// be told, and what was made must go.
func TestInterruptedStart(t *testing.T) {
	var cleaned bool
	p := Program{
		Flags: flag.NewFlagSet("program", flag.ContinueOnError),
		Start: func(ctx context.Context, servers *Servers) error {
			servers.OnStop(func() error { cleaned = true; return nil })
			if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
				return err
			}
			<-ctx.Done()
			return fmt.Errorf("interrupted: %w", ctx.Err())
		},
	}
	code, err := p.run([]string{"true"}, true)
	if code != exitServer || !errors.Is(err, context.Canceled) || !cleaned {
		t.Errorf("code %d, error %v, cleaned up: %t", code, err, cleaned)
	}
}
