//go:build unix

package child

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Orphan is for the tests that servers end with the process that started them. It runs
// this program once more, with env beside its own environment, in which it starts
// servers, prints a line and waits. Then Orphan calls look with the line, and kills it.
func Orphan(look func(line string), env ...string) error {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), env...)
	parent.Stderr = os.Stderr
	stdout, err := parent.StdoutPipe()
	if err != nil {
		return err
	}
	if err := parent.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	look(line)
	if err := parent.Process.Kill(); err != nil {
		return err
	}
	_ = parent.Wait() // it was killed, and says so
	if err != nil {
		return fmt.Errorf("the parent said %q: %w", line, err)
	}
	return nil
}

// OrphanServer is [Orphan] for a single server, whose process id is the line. That it
// outlives its parent by more than a few seconds is an error.
func OrphanServer(env ...string) error {
	var pid int
	var scanErr error
	err := Orphan(func(line string) { _, scanErr = fmt.Sscan(line, &pid) }, env...)
	if err := errors.Join(err, scanErr); err != nil {
		return err
	}
	if err := awaitGone([]int{pid}); err != nil {
		return fmt.Errorf("it outlives its parent: %w", err)
	}
	return nil
}
