package devpostgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/atrest/atrest/internal/child"
	"github.com/jackc/pgx/v5"
)

// launch starts a process on the cluster and waits until it accepts
// connections. The first launch fixes the server's address. If the port that
// was found free is taken when the server wants it, the next one is tried; on a
// restart we wait for whoever holds it, most likely the local end of a short
// connection, to let go.
func (s *Server) launch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return tryPorts(ctx, s.admin.Host, func(address string) error {
		_, port, _ := strings.Cut(address, ":")
		command := s.cluster.command(filepath.Join(s.cluster.programs, "postgres"), "-D", s.cluster.data(), "-p", port)
		// Fast shutdown, and immediate shutdown (PostgreSQL's documentation,
		// section "Shutting Down the Server"). Killed, it would leave a
		// segment of shared memory behind for good.
		command.StopSignal, command.DeathSignal = syscall.SIGINT, syscall.SIGQUIT
		admin := s.urlAt(address)
		p, err := startServer(ctx, command, s.log, func(ctx context.Context) error {
			return ping(ctx, withDatabase(admin, "postgres"))
		})
		if err != nil {
			return err
		}
		if s.process = p; s.admin.Host == "" {
			*s.admin = *admin // before anyone else knows the server
		}
		return nil
	})
}

// urlAt is the URL of the owner's database on a server of ours.
func (s *Server) urlAt(address string) *url.URL {
	query := url.Values{"sslmode": {"disable"}}
	if s.cluster.tls {
		query = url.Values{"sslmode": {"verify-full"}, "sslrootcert": {s.cluster.authority()}}
	}
	return &url.URL{
		Scheme: "postgres", User: url.UserPassword(owner, *s.cluster.password),
		Host: address, Path: "/" + owner, RawQuery: query.Encode(),
	}
}

// errAddressInUse means that another process has the port.
var errAddressInUse = errors.New("address already in use")

// tryPorts calls start with an address, the fixed one if there is one, until it
// gets it.
func tryPorts(ctx context.Context, fixed string, start func(address string) error) error {
	for {
		address := fixed
		if address == "" {
			var err error
			if address, err = child.FreeAddress(); err != nil {
				return err
			}
		}
		err := start(address)
		if !errors.Is(err, errAddressInUse) {
			return err
		}
		if err := child.Poll(ctx); err != nil {
			return fmt.Errorf("no port to listen on: %w", err)
		}
	}
}

// startServer starts a process and asks until it answers.
func startServer(ctx context.Context, c child.Command, log io.Writer, ask func(context.Context) error) (*child.Process, error) {
	out := &child.Output{To: log}
	c.Log = out
	p, err := child.Start(c)
	if err != nil {
		return nil, err
	}
	for {
		err := askOnce(ctx, ask)
		if err == nil {
			return p, nil
		}
		select {
		case <-p.Done():
			return nil, startFailure(out)
		default:
		}
		if ended := child.Poll(ctx); ended != nil {
			return nil, errors.Join(fmt.Errorf("the server did not get ready: %w; it printed:\n%s", ended, out.Tail()), err, p.Kill())
		}
	}
}

// askOnce bounds one question: whoever else has the port may never answer it.
func askOnce(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return ask(ctx)
}

// startFailure makes an error of what a server printed before it gave up.
func startFailure(out *child.Output) error {
	tail := out.Tail()
	if strings.Contains(strings.ToLower(tail), errAddressInUse.Error()) {
		return errAddressInUse
	}
	return fmt.Errorf("the server exited at once; it printed:\n%s", tail)
}

// ping makes a connection and closes it.
func ping(ctx context.Context, at *url.URL) error {
	conn, err := pgx.Connect(ctx, at.String())
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}
