package devpostgres

import (
	"context"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/atrest/atrest/internal/child"
	"github.com/jackc/pgx/v5"
)

// launch starts a process on the cluster and waits until it accepts
// connections. The first launch fixes the server's address.
func (s *Server) launch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return child.TryAddresses(ctx, s.admin.Host, func(address string) error {
		_, port, _ := strings.Cut(address, ":")
		command := s.cluster.command(filepath.Join(s.cluster.programs, "postgres"), "-D", s.cluster.data(), "-p", port)
		// Fast shutdown, and immediate shutdown (PostgreSQL's documentation,
		// section "Shutting Down the Server"). Killed, it would leave a
		// segment of shared memory behind for good.
		command.StopSignal, command.DeathSignal = syscall.SIGINT, syscall.SIGQUIT
		command.Log = s.log
		admin := s.urlAt(address)
		p, err := child.StartServer(ctx, command, func(ctx context.Context) error {
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

// ping makes a connection and closes it.
func ping(ctx context.Context, at *url.URL) error {
	conn, err := pgx.Connect(ctx, at.String())
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}
