//go:build unix

package child

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// signalTimeout is how long processes may take to obey a signal that they
// cannot refuse. One that waits for a disk obeys when the disk has answered.
const signalTimeout = 10 * time.Second

// looksBeforeResume is how often Pause looks, a millisecond apart, before it
// lets all go on and begins anew.
const looksBeforeResume = 50

// Pause stops the process and all its descendants in their tracks: the kernel
// accepts connections to them, but nothing is answered until [Process.Resume].
//
// The signal only asks: a thread that runs on another processor can still
// finish what it was doing. So Pause returns when all have stopped, or a test
// would see one more answer from a server that it has paused.
func (p *Process) Pause() error {
	deadline := time.Now().Add(signalTimeout)
	// One that ran while the family was listed could have become a parent
	// since: what counts is two quiet looks in a row.
	for quiet, looks := 0, 0; quiet < 2; looks++ {
		if p.ended() {
			return fmt.Errorf("server process %d is gone", p.PID())
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("server process %d did not pause within %v", p.PID(), signalTimeout)
		}
		// A parent within vfork(2) can't stop before its child has called
		// execve(2), and a child that has been stopped before that never does.
		if looks%looksBeforeResume == looksBeforeResume-1 {
			if err := p.Resume(); err != nil {
				return err
			}
		}
		running, err := p.signalRunning(syscall.SIGSTOP)
		if err != nil {
			return err
		}
		if running {
			quiet = 0
			time.Sleep(time.Millisecond)
		} else {
			quiet++
		}
	}
	return nil
}

// signalRunning signals those of the family that are not stopped, and reports
// whether there were any.
func (p *Process) signalRunning(sig syscall.Signal) (bool, error) {
	pids, err := family(p.PID())
	if err != nil {
		return false, err
	}
	running := false
	for _, pid := range pids {
		if stopped(pid) {
			continue
		}
		running = true
		if err := signal(pid, sig); err != nil {
			return false, err
		}
	}
	return running, nil
}

// Resume lets a paused process and its descendants go on, and answer what they
// were asked meanwhile. If they are not paused, or gone, nothing happens.
func (p *Process) Resume() error {
	if p.ended() {
		return nil
	}
	pids, err := family(p.PID())
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := signal(pid, syscall.SIGCONT); err != nil {
			return err
		}
	}
	return nil
}

// Kill ends the process and its descendants without warning, as a loss of power
// would, and returns when they are gone. If they were gone before, nothing
// happens.
//
// They are paused first. A server would see a child of its own die and begin to
// repair; and while their parent cannot bury them, no other process can get the
// ids of those that are killed.
func (p *Process) Kill() error {
	if p.ended() {
		return nil
	}
	pauseErr := p.Pause() // if it fails, killing still ends what it can
	pids, err := family(p.PID())
	if err != nil {
		return errors.Join(pauseErr, err, p.signal(syscall.SIGKILL))
	}
	descendants := pids[1:]
	for _, pid := range descendants {
		err = errors.Join(err, signal(pid, syscall.SIGKILL))
	}
	if err := errors.Join(err, p.signal(syscall.SIGKILL)); err != nil {
		return err
	}
	<-p.done
	return awaitGone(descendants)
}

// awaitGone waits until none of the processes runs.
func awaitGone(pids []int) error {
	deadline := time.Now().Add(signalTimeout)
	for _, pid := range pids {
		for !gone(pid) {
			if time.Now().After(deadline) {
				return fmt.Errorf("server process %d was killed and still runs", pid)
			}
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

func signal(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("sending %v to server process %d: %w", sig, pid, err)
	}
	return nil
}
