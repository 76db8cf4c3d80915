//go:build !unix

package child

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// attributes has nothing to change: here a child is not tied to the life of its
// parent.
func attributes(c Command) (*syscall.SysProcAttr, error) {
	if c.User != nil {
		return nil, fmt.Errorf("running as another user: %w", errors.ErrUnsupported)
	}
	return nil, nil
}

// Pause is not supported here: there is no such signal.
func (p *Process) Pause() error { return errors.ErrUnsupported }

// Resume is not supported here: there is no such signal.
func (p *Process) Resume() error { return errors.ErrUnsupported }

// Kill ends the process without warning and returns when it is gone.
func (p *Process) Kill() error {
	if err := p.signal(os.Kill); err != nil {
		return err
	}
	<-p.done
	return nil
}
