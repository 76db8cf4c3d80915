// Package child runs servers as child processes, which end with the process that
// started them: the internal Vault, and those that the tests, the demo and the
// examples need.
package child

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Command says what to run and how.
type Command struct {
	Path string    // of the program
	Args []string  // without the program's name
	Env  []string  // "NAME=value"; nil means our own environment
	Dir  string    // working directory; empty means ours
	Log  io.Writer // receives standard output and error; nil means nobody. See [Output]

	// User, if not nil, is as whom to run. It takes root to become another.
	User *User

	// StopSignal is how [Process.Stop] asks the process to end; nil means
	// SIGTERM.
	StopSignal os.Signal

	// DeathSignal is what Linux sends the process when we die; 0 means
	// SIGKILL. One that allows the process to tidy up must be sure to end it.
	DeathSignal syscall.Signal
}

// User is a user of a Unix system and that user's main group.
type User struct{ UID, GID uint32 }

// Process is one run of a command. Its methods may be called concurrently.
type Process struct {
	cmd        *exec.Cmd
	stopSignal os.Signal
	done       chan struct{} // closed when the process is gone and its output read
}

// Start starts a child that ends with this process, where the system offers
// that (Linux does). The process group of the child is its own there.
//
// Linux ties the child to the life of the thread that started it, not to that
// of the whole process, and Go ends threads as it likes. So one goroutine keeps
// the thread for itself from the start of the child to its end.
func Start(c Command) (*Process, error) {
	attributes, err := attributes(c)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.Path, err)
	}
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env, cmd.Dir = c.Env, c.Dir
	cmd.Stdout, cmd.Stderr = c.Log, c.Log
	cmd.SysProcAttr = attributes
	// The pipe can outlive the child if that has started children of its own.
	cmd.WaitDelay = time.Second
	p := &Process{cmd: cmd, stopSignal: c.StopSignal, done: make(chan struct{})}
	if p.stopSignal == nil {
		p.stopSignal = syscall.SIGTERM
	}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			// How it ended is in ExitCode; why, in its output.
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.Path, err)
	}
	return p, nil
}

// PID is the id of the process, also after its end.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process is gone and all its output has been written
// to the log.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode waits for the end of the process and returns its exit code, -1 if a
// signal ended it.
func (p *Process) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Stop asks the process to end, kills it and its children if it takes longer
// than patience, which is an error, and returns when it is gone. A paused
// process is resumed. That it had ended before is no error.
func (p *Process) Stop(patience time.Duration) error {
	if p.ended() {
		return nil
	}
	if err := p.signal(p.stopSignal); err != nil {
		return errors.Join(err, p.Kill())
	}
	// A paused process does not see the signal until it goes on.
	if err := p.Resume(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return errors.Join(err, p.Kill())
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		err := fmt.Errorf("server process %d did not stop within %v and was killed", p.PID(), patience)
		return errors.Join(err, p.Kill())
	}
}

// signal sends a signal to the process itself. One that is gone needs none.
func (p *Process) signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %v to server process %d: %w", sig, p.PID(), err)
	}
	return nil
}

// ended reports whether the process is gone.
func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
