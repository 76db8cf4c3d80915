package devs3

import (
	"errors"
	"fmt"
)

// errStopped answers every operation on a server after Stop.
var errStopped = errors.New("the server was stopped")

// Pause stops the server's process in its tracks: connections are accepted by
// the kernel, but nothing is answered until [Server.Resume]. The error is
// [errors.ErrUnsupported] where the system has no such signal (Windows), and
// for [External].
func (s *Server) Pause() error {
	return s.change("pause", func() error { return s.process.Pause() })
}

// Resume lets a paused server go on, and answer what it was asked meanwhile.
func (s *Server) Resume() error {
	return s.change("resume", func() error { return s.process.Resume() })
}

// Kill ends the server's process without warning, as a crash would.
// [Server.Restart] brings it back. The error is [errors.ErrUnsupported] for
// [External].
func (s *Server) Kill() error {
	return s.change("kill", func() error { return s.process.Kill() })
}

// change runs one operation on the process of a server that has one and has not
// been stopped.
func (s *Server) change(name string, f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	switch {
	case s.kind == External:
		err = errors.ErrUnsupported
	case s.stopped:
		err = errStopped
	default:
		err = f()
	}
	if err != nil {
		return fmt.Errorf("devs3: %s: %w", name, err)
	}
	return nil
}
