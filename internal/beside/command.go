package beside

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
)

// The codes by which a shell tells that a command could not be run.
const (
	exitCannotRun = 126
	exitNotFound  = 127
)

// runCommand runs the command with our standard streams, passes signals on to
// it, and returns its exit code.
func runCommand(command, env []string, signals <-chan os.Signal) (int, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			return exitNotFound, err
		}
		return exitCannotRun, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case sig := <-signals:
			if !fromTerminal(sig) {
				// It may have ended this moment; then there is
				// nobody to tell.
				_ = cmd.Process.Signal(sig)
			}
		case err := <-ended:
			return exitCode(cmd.ProcessState, err)
		}
	}
}

// exitCode is the code to exit with after the command has ended.
func exitCode(state *os.ProcessState, err error) (int, error) {
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		return exitCannotRun, fmt.Errorf("waiting for the command: %w", err)
	}
	if number, ok := endedBySignal(state); ok {
		return 128 + number, nil
	}
	return state.ExitCode(), nil
}
