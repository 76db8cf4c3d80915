package devvault

import (
	"context"
	"errors"
	"fmt"
)

// errStopped answers every operation on a server after Stop.
var errStopped = errors.New("the server was stopped")

// Seal seals the server: it forgets its keys and refuses all work until
// [Server.Unseal].
func (s *Server) Seal(ctx context.Context) error {
	return s.change("seal", func() error { return s.seal(ctx) })
}

// Unseal unseals the server and returns when it is ready for work.
func (s *Server) Unseal(ctx context.Context) error {
	return s.change("unseal", func() error { return s.unseal(ctx) })
}

// Pause stops the server's process in its tracks: connections are accepted by
// the kernel, but nothing is answered until [Server.Resume]. The error is
// [errors.ErrUnsupported] where the system has no such signal (Windows).
func (s *Server) Pause() error {
	return s.change("pause", func() error { return s.process.Pause() })
}

// Resume lets a paused server go on, and answer what it was asked meanwhile.
func (s *Server) Resume() error {
	return s.change("resume", func() error { return s.process.Resume() })
}

// Kill ends the server's process without warning, as a crash would.
// [Server.Restart] brings it back.
func (s *Server) Kill() error {
	return s.change("kill", func() error { return s.process.Kill() })
}

// change runs one operation on a server that has not been stopped.
func (s *Server) change(name string, f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.changeable()
	if err == nil {
		err = f()
	}
	if err != nil {
		return fmt.Errorf("devvault: %s: %w", name, err)
	}
	return nil
}

// changeable says why the server's state cannot be changed, if so.
func (s *Server) changeable() error {
	switch {
	case s.external != "":
		return fmt.Errorf("%w: the server that %s=external chooses is not ours", errors.ErrUnsupported, sharedVariable)
	case s.stopped:
		return errStopped
	}
	return nil
}
