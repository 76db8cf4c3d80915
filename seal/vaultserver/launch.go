package vaultserver

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/child"
)

// healthTimeout bounds one look at the server's health, so that a question that is never
// answered does not use up all the time.
const healthTimeout = 5 * time.Second

// stopFailed bounds, besides Config.StopTimeout, the patience with a process that did not
// get ready. Nobody uses it yet, so that there is nothing to wait for; and an hour's
// patience for the work of a good one must not keep Start from its next try for an hour.
const stopFailed = 5 * time.Second

// launch writes the configuration, starts a process and waits until it answers. It
// returns ErrVaultUnavailable if the process was started and that was in vain: then
// another try may help.
func (s *Server) launch(ctx context.Context) (*child.Process, error) {
	ctx, cancel := context.WithTimeout(ctx, s.c.StartTimeout)
	defer cancel()
	if err := s.writeConfig(); err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	out := newOutput(s.c.Logger, s.redact)
	p, err := s.startProcess(ctx, out)
	if err != nil {
		return nil, err
	}
	if err := s.awaitAnswer(ctx, p, out); err != nil {
		return nil, errors.Join(err, p.Stop(min(s.c.StopTimeout, stopFailed)))
	}
	return p, nil
}

func (s *Server) writeConfig() error {
	text, err := render(s.c, s.at, s.creds)
	if err != nil {
		return err
	}
	return writePrivate(filepath.Join(s.c.Dir, configFile), []byte(text))
}

// startProcess starts a process, unless it is too late, and takes note of it.
func (s *Server) startProcess(ctx context.Context, out *output) (*child.Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p, err := child.Start(child.Command{
		Path: s.c.Binary,
		Args: []string{"server", "-config=" + filepath.Join(s.c.Dir, configFile)},
		Env:  childEnvironment(),
		Log:  out,
	})
	if err != nil {
		return nil, err
	}
	s.process = p
	s.launches++
	return p, nil
}

// awaitAnswer waits until the server says that it runs, and then until it answers. An
// answer alone would not do: the one who has the port might be another.
func (s *Server) awaitAnswer(ctx context.Context, p *child.Process, out *output) error {
	select {
	case <-out.started:
	case <-p.Done():
		return exitError(p, out)
	case <-ctx.Done():
		return notReady(ctx, nil, out)
	}
	var asked error
	for {
		if err := s.askHealth(ctx); err == nil || ctx.Err() == nil {
			asked = err // else it says no more than that the time is up
		}
		select {
		case <-p.Done():
			return exitError(p, out)
		default:
		}
		if asked == nil && ctx.Err() == nil {
			return nil
		}
		if err := child.Poll(ctx); err != nil {
			return notReady(ctx, asked, out)
		}
	}
}

// askHealth returns nil if the server answers sys/health with any state of a Vault.
func (s *Server) askHealth(ctx context.Context) error {
	client, err := s.Client()
	if err != nil {
		return err
	}
	client.SetClientTimeout(healthTimeout)
	_, err = client.Sys().HealthWithContext(ctx)
	return err
}

// exitError says how a process ended that was to run.
func exitError(p *child.Process, out *output) error {
	return fmt.Errorf("%w: the process ended with %s; the last that it printed:\n%s",
		atrest.ErrVaultUnavailable, ending(p), out.lastLines())
}

func ending(p *child.Process) string {
	if code := p.ExitCode(); code >= 0 {
		return fmt.Sprintf("exit code %d", code)
	}
	return "a signal"
}

func notReady(ctx context.Context, asked error, out *output) error {
	err := fmt.Errorf("%w: it did not get ready: %w", atrest.ErrVaultUnavailable, context.Cause(ctx))
	if asked != nil {
		err = fmt.Errorf("%w (%w)", err, asked)
	}
	return fmt.Errorf("%w; the last that it printed:\n%s", err, out.lastLines())
}

// release gives up what Start has taken. The process has ended.
func (s *Server) release() error {
	s.transport.CloseIdleConnections()
	return errors.Join(removeConfig(s.c.Dir), s.lock.Close())
}
