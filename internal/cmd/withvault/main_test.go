//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asMain makes the test binary behave as the command.
const asMain = "WITHVAULT_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		os.Unsetenv(asMain)
		main()
		return
	}
	os.Exit(m.Run())
}

// result is how a run of the command ended.
type result struct {
	code           int
	stdout, stderr string
}

// withvault prepares a run of the command with a temporary directory of its own.
func withvault(t *testing.T, args ...string) (cmd *exec.Cmd, tempDir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, os.Args[0], args...)
	tempDir = t.TempDir()
	cmd.Env = append(os.Environ(), asMain+"=1", "TMPDIR="+tempDir, "VAULT_NAMESPACE=elsewhere")
	// Without our terminal, if we have one: see fromTerminal.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, tempDir
}

func runToEnd(t *testing.T, args ...string) result {
	t.Helper()
	cmd, tempDir := withvault(t, args...)
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
		t.Errorf("withvault %q left %v", args, left)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func TestEnvironmentAndExitCode(t *testing.T) {
	t.Parallel()
	got := runToEnd(t, "--", "sh", "-c", `echo "$VAULT_ADDR ${VAULT_TOKEN:+token} ns=$VAULT_NAMESPACE"; exit 7`)
	if got.code != 7 {
		t.Errorf("exit code %d, want 7", got.code)
	}
	if !strings.HasPrefix(got.stdout, "http://127.0.0.1:") || !strings.HasSuffix(got.stdout, " token ns=\n") {
		t.Errorf("the command saw %q", got.stdout)
	}
	if !strings.Contains(got.stderr, "Vault with transit/ at http://127.0.0.1:") {
		t.Errorf("stderr = %q", got.stderr)
	}
}

func TestQuiet(t *testing.T) {
	t.Parallel()
	if got := runToEnd(t, "-quiet", "--", "true"); got != (result{}) {
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
		args []string
		want int
	}{
		"no command":     {nil, exitUsage},
		"unknown flag":   {[]string{"-x", "--", "true"}, exitUsage},
		"not found":      {[]string{"--", "no-such-command"}, exitNotFound},
		"no such path":   {[]string{"--", "/no/such/command"}, exitNotFound},
		"not executable": {[]string{"--", file}, exitCannotRun},
		"signalled":      {[]string{"--", "sh", "-c", "kill -TERM $$"}, 128 + 15},
		"no Vault":       {[]string{"-storage", file, "--", "true"}, exitVault},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := runToEnd(t, test.args...); got.code != test.want || got.stderr == "" {
				t.Errorf("got %+v, want code %d and a reason", got, test.want)
			}
		})
	}
}

func TestStorageSurvives(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "vault")
	printToken := []string{"-quiet", "-storage", dir, "--", "sh", "-c", "echo $VAULT_TOKEN"}
	first, second := runToEnd(t, printToken...), runToEnd(t, printToken...)
	if first.code != 0 || second != first || strings.TrimSpace(first.stdout) == "" {
		t.Errorf("runs on one directory: codes %d and %d, same token: %t, stderr %q",
			first.code, second.code, first.stdout == second.stdout, second.stderr)
	}
	if err := os.Remove(filepath.Join(dir, "dev-init.json")); err != nil {
		t.Fatal(err)
	}
	third := runToEnd(t, printToken...)
	if third.code != exitVault || !strings.Contains(third.stderr, "delete the directory") {
		t.Errorf("without the key: %+v, want the remedy", third)
	}
}

func TestForwardsSignals(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			cmd, _ := withvault(t, "-quiet", "--", "sh", "-c",
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
		})
	}
}
