//go:build unix

// Package besidetest runs programs of package beside as processes of their own,
// for the tests of the programs.
package besidetest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// asProgram makes a test binary behave as the program.
const asProgram = "BESIDETEST_PROGRAM"

// BeProgram runs main and exits if [Command] has started this process. A
// TestMain calls it first.
func BeProgram(main func()) {
	if os.Getenv(asProgram) == "" {
		return
	}
	os.Unsetenv(asProgram)
	main()
	os.Exit(0)
}

// Command prepares a run of the program with a temporary directory of its own
// and without the terminal, if there is one: a program beside which a command
// runs leaves an interrupt to the terminal. It is killed after a minute.
func Command(t *testing.T, args ...string) (cmd *exec.Cmd, tempDir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, os.Args[0], args...)
	tempDir = t.TempDir()
	cmd.Env = append(os.Environ(), asProgram+"=1", "TMPDIR="+tempDir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, tempDir
}

// Result is how a run ended.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Run runs the program to its end, with further variables, each "NAME=value",
// in its environment. Files that it leaves in its temporary directory fail the
// test.
func Run(t *testing.T, variables []string, args ...string) Result {
	t.Helper()
	cmd, tempDir := Command(t, args...)
	cmd.Env = append(cmd.Env, variables...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if _, exited := errors.AsType[*exec.ExitError](err); !exited {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(tempDir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("%q left %v", args, left)
	}
	return Result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}
