// Package devpostgres runs a real PostgreSQL server as a child process, for
// tests and examples, and on request a real PgBouncer in front of it.
//
// It uses the programs that the machine has. The server listens on 127.0.0.1
// only, has a password made at random, keeps its data as durably as one in
// production, and ends with the process that started it. Started by root, it
// runs as the user postgres, or else nobody, since PostgreSQL refuses root.
//
// With the environment variable ATREST_TEST_POSTGRES_URL set, nothing is
// started: [Server] then stands for the server at that URL, which must not be
// one that matters.
package devpostgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"time"

	"github.com/atrest/atrest/internal/child"
)

const (
	// startTimeout bounds each of: making a new cluster, and the wait for a
	// process to answer. Both take about a second; on a machine that is busy
	// compiling, or after a crash, longer.
	startTimeout = time.Minute

	// stopTimeout is how long a fast shutdown may take, which writes a
	// checkpoint, before the server is killed.
	stopTimeout = 30 * time.Second
)

// owner is the name of the superuser and of the database that it owns.
const owner = "atrest"

// Options says how to run the server. The zero value is right for most tests.
type Options struct {
	// Dir is an existing directory below which the server keeps its data, in
	// a new directory that is removed in the end: the way to put them on
	// another file system. If empty, it is a temporary directory. If root
	// starts the server, directories above it that lie below the system's
	// temporary one and are closed to other users are opened to be passed
	// through (mode o+x).
	Dir string

	// Settings changes parameters of postgresql.conf, such as
	// "max_connections": "20". Without it the server has PostgreSQL's own
	// defaults, those of durability included.
	Settings map[string]string

	// TLS has the server accept nothing but TLS, with a certificate made for
	// it. URLs then ask for sslmode=verify-full.
	TLS bool

	// Log receives what the server prints. If nil, it is dropped, except
	// that the last lines become part of the error if the server fails.
	Log io.Writer
}

// isZero reports whether the options ask for nothing in particular.
func (o Options) isZero() bool {
	return o.Dir == "" && len(o.Settings) == 0 && !o.TLS
}

// Server is a running PostgreSQL. Its methods may be called concurrently.
type Server struct {
	admin   *url.URL // of the owner's database; fixed once started. Behind a pointer, because it holds the password
	cluster *cluster // nil if the server is not ours
	log     io.Writer

	mu      sync.Mutex // guards the fields below, and one change of process at a time
	process *child.Process
	stopped bool
	created []string // databases to drop from a server that is not ours
}

// Start starts a new server and returns when it accepts connections. ctx bounds
// the start only: the server runs until [Server.Stop], or until this process
// ends. If the machine lacks PostgreSQL, the error is [ErrNoBinary].
//
// With ATREST_TEST_POSTGRES_URL set, Start only connects, and any option other
// than Log is [errors.ErrUnsupported].
func Start(ctx context.Context, o Options) (*Server, error) {
	s, err := start(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("devpostgres: %w", err)
	}
	return s, nil
}

func start(ctx context.Context, o Options) (*Server, error) {
	if s, err := external(ctx, o); s != nil || err != nil {
		return s, err
	}
	c, err := newCluster(ctx, o)
	if err != nil {
		return nil, err
	}
	s := &Server{cluster: c, log: o.Log, admin: &url.URL{}}
	s.mu.Lock()
	err = s.launch(ctx)
	s.mu.Unlock()
	if err == nil {
		err = s.createOwnersDatabase(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// URL is the connection URL of the superuser atrest's database of that name. It
// holds the password.
func (s *Server) URL() string { return s.admin.String() }

// Host is "127.0.0.1:PORT". It stays the same for the server's life, restarts
// included.
func (s *Server) Host() string { return s.admin.Host }

// Restart stops the server, as [Server.Stop] does, and starts it again with its
// data under the same address. It also revives a server that was killed.
func (s *Server) Restart(ctx context.Context) error {
	return s.change("restart", func() error {
		if err := s.process.Stop(stopTimeout); err != nil {
			return err
		}
		return s.launch(ctx)
	})
}

// Stop ends the server by a fast shutdown (open transactions are rolled back),
// waits until it is gone, and removes its data. A server that does not stop
// within 30 seconds is killed, which is reported as an error. On a server that
// is not ours, Stop drops the databases that [Server.Database] has made, and no
// more. Calling Stop again does nothing.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	s.stopped = true
	if err := s.stop(); err != nil {
		return fmt.Errorf("devpostgres: stop: %w", err)
	}
	return nil
}

func (s *Server) stop() error {
	if s.cluster == nil {
		return s.dropCreated()
	}
	var err error
	if s.process != nil {
		err = s.process.Stop(stopTimeout)
	}
	return errors.Join(err, s.cluster.remove())
}
