package vaultserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/child"
)

// killAgain is how often Stop kills what may have been started this moment.
const killAgain = 100 * time.Millisecond

// supervise keeps a process running until life ends.
func (s *Server) supervise(life context.Context, p *child.Process, since time.Time) {
	defer close(s.done)
	var waits backoff
	for p != nil {
		select {
		case <-life.Done():
		case <-s.restarts:
			s.down(errors.New("being restarted"))
			s.logStop(p.Stop(s.c.StopTimeout))
		case <-p.Done():
			if life.Err() == nil { // else Stop has killed it
				waits.ended(time.Since(since))
				s.crashed(life, p, &waits)
			}
		}
		if life.Err() != nil {
			break
		}
		p = s.relaunch(life, &waits)
		since = time.Now()
	}
	s.finish()
}

// crashed takes note of a process that has ended by itself, and waits before the next.
func (s *Server) crashed(life context.Context, p *child.Process, waits *backoff) {
	err := fmt.Errorf("%w: the process ended with %s", atrest.ErrVaultUnavailable, ending(p))
	s.down(err)
	wait := waits.next()
	s.c.Logger.Error("Vault has ended; starting it again", "pid", p.PID(), "how", ending(p), "after", wait)
	s.pause(life, wait)
}

// relaunch tries to start the process until it runs, or returns nil when life ends.
func (s *Server) relaunch(life context.Context, waits *backoff) *child.Process {
	for life.Err() == nil {
		p, err := s.launch(life)
		if err == nil {
			s.up(p)
			s.c.Logger.Info("Vault was started again", "pid", p.PID())
			return p
		}
		if life.Err() != nil {
			break
		}
		s.down(err)
		wait := waits.next()
		s.c.Logger.Error("Vault did not start; trying again", "after", wait, "error", err)
		s.pause(life, wait)
	}
	return nil
}

// pause waits, and no longer than until somebody asks for a restart. It reports whether
// ctx has not ended.
func (s *Server) pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.restarts:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// up takes note of a process that answers.
func (s *Server) up(p *child.Process) {
	s.change(func() {
		s.run = &Run{Number: s.launches, PID: p.PID(), Ended: p.Done()}
		s.state, s.err = Running, nil
	})
}

// down takes note that no process answers, and why.
func (s *Server) down(err error) {
	s.change(func() { s.run, s.state, s.err = nil, Down, err })
}

// finish stops what still runs, and gives up what the server has.
func (s *Server) finish() {
	err := s.process.Stop(s.c.StopTimeout) // only this goroutine changes it
	s.logStop(err)
	err = errors.Join(err, s.release())
	s.change(func() { s.run, s.state, s.err, s.stopErr = nil, Stopped, ErrStopped, err })
}

func (s *Server) logStop(err error) {
	if err != nil {
		s.c.Logger.Warn("stopping Vault", "error", err)
	}
}

// change makes a change and wakes those who wait for one.
func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Await returns the run that there is, or waits for the next. After Stop it is
// [ErrStopped].
//
// Whoever keeps the server unsealed calls it, unseals it, waits for the end of the run,
// and begins again.
func (s *Server) Await(ctx context.Context) (Run, error) {
	run, err := s.awaitAfter(ctx, 0)
	if err != nil {
		return Run{}, fmt.Errorf("vaultserver: waiting for Vault: %w", err)
	}
	return run, nil
}

// awaitAfter waits for a run with a higher number.
func (s *Server) awaitAfter(ctx context.Context, number int) (Run, error) {
	for {
		s.mu.Lock()
		run, state, down, changed := s.run, s.state, s.err, s.changed
		s.mu.Unlock()
		if state == Stopped {
			return Run{}, ErrStopped
		}
		if run != nil && run.Number > number && !ended(run.Ended) {
			return *run, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			err := context.Cause(ctx)
			if down != nil {
				err = fmt.Errorf("%w (%w)", err, down)
			}
			return Run{}, err
		}
	}
}

func ended(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// Restart stops the process, starts another, at once, and returns when that answers, or
// with ctx's error, which does not keep it from happening. Vault must be restarted when
// its data was removed: it keeps in memory that it is initialised.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	number := s.launches
	s.mu.Unlock()
	select {
	case s.restarts <- struct{}{}:
	default: // it has been asked for
	}
	if _, err := s.awaitAfter(ctx, number); err != nil {
		return fmt.Errorf("vaultserver: restart: %w", err)
	}
	return nil
}

// Stop ends the server and returns when its process is gone. Vault is asked first, and
// killed after Config.StopTimeout, or when ctx ends, which is an error. The
// configuration is removed; key and certificate stay. Calling Stop again waits too, and
// returns the same.
func (s *Server) Stop(ctx context.Context) error {
	s.stop(ErrStopped)
	var killed error
	select {
	case <-s.done:
	case <-ctx.Done():
		killed = errors.Join(fmt.Errorf("killed: %w", context.Cause(ctx)), s.kill())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(killed, s.stopErr); err != nil {
		return fmt.Errorf("vaultserver: stop: %w", err)
	}
	return nil
}

// kill kills the process until the supervisor has ended: it may have started another
// this moment.
func (s *Server) kill() error {
	var err error
	for !ended(s.done) {
		s.mu.Lock()
		p := s.process
		s.mu.Unlock()
		err = errors.Join(err, p.Kill())
		select {
		case <-s.done:
		case <-time.After(killAgain):
		}
	}
	return err
}
