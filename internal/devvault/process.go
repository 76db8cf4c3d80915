package devvault

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

// process is one run of the server.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process is gone and its output read
}

// startProcess starts a child that ends with this process, where the system
// offers that (see childAttributes).
//
// Linux ties the child to the life of the thread that started it, not to that
// of the whole process, and Go ends threads as it likes. So one goroutine keeps
// the thread for itself from the start of the child to its end.
func startProcess(path string, args, env []string, out io.Writer) (*process, error) {
	cmd := exec.Command(path, args...)
	cmd.Env = env
	cmd.Stdout = out
	cmd.Stderr = out
	cmd.SysProcAttr = childAttributes()
	// The pipe could outlive the child if that had started children of its
	// own. It does not, so this is for the day that it does.
	cmd.WaitDelay = time.Second
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			// How it ended is of no interest: who wants to know why
			// a server died reads its output.
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	return p, nil
}

// stop asks the process to end, kills it if it takes longer than patience, and
// returns when it is gone. That it had ended before is no error.
func (p *process) stop(patience time.Duration) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return errors.Join(err, p.kill())
	}
	// A paused process does not see the signal until it goes on.
	if err := p.resume(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return errors.Join(err, p.kill())
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		err := fmt.Errorf("server process %d did not stop within %v and was killed", p.cmd.Process.Pid, patience)
		return errors.Join(err, p.kill())
	}
}

// kill ends the process at once and returns when it is gone.
func (p *process) kill() error {
	if err := p.signal(os.Kill); err != nil {
		return err
	}
	<-p.done
	return nil
}

// signal sends a signal. A process that is gone needs none.
func (p *process) signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %v to server process %d: %w", sig, p.cmd.Process.Pid, err)
	}
	return nil
}
