package devpostgres

import (
	"errors"
	"fmt"
)

// errStopped answers every operation on a server after Stop.
var errStopped = errors.New("the server was stopped")

// Kill ends all the server's processes at one moment and without warning, as a
// crash of the machine would, except that what the kernel has been given is
// kept. [Server.Restart] brings it back.
func (s *Server) Kill() error {
	return s.change("kill", func() error { return s.process.Kill() })
}

// Pause stops the server's processes in their tracks, those of the open
// connections included: new connections are accepted by the kernel, but nothing
// is answered until [Server.Resume].
func (s *Server) Pause() error {
	return s.change("pause", func() error { return s.process.Pause() })
}

// Resume lets a paused server go on, and answer what it was asked meanwhile.
func (s *Server) Resume() error {
	return s.change("resume", func() error { return s.process.Resume() })
}

// change runs one operation on a server that is ours and has not been stopped.
func (s *Server) change(name string, f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	switch {
	case s.cluster == nil:
		err = fmt.Errorf("%w on the server at %s, which is not ours", errors.ErrUnsupported, urlVariable)
	case s.stopped:
		err = errStopped
	default:
		err = f()
	}
	if err != nil {
		return fmt.Errorf("devpostgres: %s: %w", name, err)
	}
	return nil
}
