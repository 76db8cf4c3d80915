package devpostgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/atrest/atrest/internal/child"
)

// BouncerConnections is how many connections a [Bouncer] keeps to each database,
// for any number of clients. Few, so that the clients of a test share them.
const BouncerConnections = 4

// Bouncer is a running PgBouncer in transaction mode: a client has a server's
// connection for the length of a transaction only, and what it leaves there, a
// prepared statement for instance, the next client finds. Its methods may be
// called concurrently.
type Bouncer struct {
	server *Server
	dir    *private
	at     *url.URL // of the server's database; behind a pointer, because it holds the password

	mu      sync.Mutex
	process *child.Process // nil after Stop
}

// StartBouncer starts a PgBouncer in front of the server, with the server's
// owner and password. ctx bounds the start only: it runs until [Bouncer.Stop],
// or until this process ends. If the machine lacks PgBouncer, the error is
// [ErrNoBinary].
func (s *Server) StartBouncer(ctx context.Context) (*Bouncer, error) {
	b, err := s.startBouncer(ctx)
	if err != nil {
		return nil, fmt.Errorf("devpostgres: PgBouncer: %w", err)
	}
	return b, nil
}

func (s *Server) startBouncer(ctx context.Context) (*Bouncer, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if s.cluster == nil {
		return nil, fmt.Errorf("%w in front of the server at %s, which is not ours", errors.ErrUnsupported, urlVariable)
	}
	program, err := bouncerProgram()
	if err != nil {
		return nil, err
	}
	dir, err := newPrivate("", "atrest-pgbouncer-")
	if err != nil {
		return nil, err
	}
	b := &Bouncer{server: s, dir: dir}
	if err := b.launch(ctx, program); err != nil {
		return nil, dir.failed(err)
	}
	return b, nil
}

func (b *Bouncer) launch(ctx context.Context, program string) error {
	return child.TryAddresses(ctx, "", func(address string) error {
		if err := b.configure(address); err != nil {
			return err
		}
		at := withoutTLS(b.server.admin, address)
		command := b.dir.command(program, "pgbouncer.ini")
		command.Log = b.server.log
		p, err := child.StartServer(ctx, command, func(ctx context.Context) error { return ping(ctx, at) })
		if err != nil {
			return err
		}
		b.at, b.process = at, p
		return nil
	})
}

// configure writes PgBouncer's configuration. It needs the password as it is,
// because it logs in to the server by SCRAM itself.
func (b *Bouncer) configure(address string) error {
	s := b.server
	serverHost, serverPort, _ := strings.Cut(s.admin.Host, ":")
	host, port, _ := strings.Cut(address, ":")
	tls := ""
	if s.cluster.tls {
		tls = "server_tls_sslmode = verify-full\nserver_tls_ca_file = ca.pem\n"
		if err := b.copyAuthority(); err != nil {
			return err
		}
	}
	users := fmt.Sprintf("%q %q\n", owner, *s.cluster.password)
	if err := b.dir.write("users.txt", []byte(users)); err != nil {
		return err
	}
	// A thousand clients, as far as the limit of open files allows.
	return b.dir.write("pgbouncer.ini", fmt.Appendf(nil, `[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = %s
listen_port = %s
unix_socket_dir =
auth_type = scram-sha-256
auth_file = users.txt
pool_mode = transaction
default_pool_size = %d
max_client_conn = 1000
%s`, serverHost, serverPort, host, port, BouncerConnections, tls))
}

// copyAuthority puts the certificate authority where PgBouncer can read it.
func (b *Bouncer) copyAuthority() error {
	text, err := os.ReadFile(b.server.cluster.authority())
	if err != nil {
		return err
	}
	return b.dir.write("ca.pem", text)
}

// URL is the connection URL of [Server.URL]'s database through the PgBouncer. It
// holds the password.
func (b *Bouncer) URL() string { return b.at.String() }

// Through is the URL through the PgBouncer of a database that
// [Server.Database] has made.
func (b *Bouncer) Through(database string) (string, error) {
	u, err := url.Parse(database)
	if err != nil || u.Host != b.server.admin.Host {
		// The parser's error would show the password.
		return "", errors.New("devpostgres: PgBouncer: not the URL of a database on its server")
	}
	return withoutTLS(u, b.at.Host).String(), nil
}

// withoutTLS is the URL of the same database at another address of this machine.
func withoutTLS(u *url.URL, address string) *url.URL {
	other := *u
	other.Host, other.RawQuery = address, "sslmode=disable"
	return &other
}

// Stop ends the PgBouncer, which closes the clients' connections, and removes
// its files. Calling Stop again does nothing.
func (b *Bouncer) Stop() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.process == nil {
		return nil
	}
	err := errors.Join(b.process.Stop(stopTimeout), b.dir.remove())
	if b.process = nil; err != nil {
		return fmt.Errorf("devpostgres: PgBouncer: stop: %w", err)
	}
	return nil
}
