// Package devs3 runs a real S3 server as a child process, for tests of the S3
// backend and for the demo.
//
// It starts one of the repository's own builds (dev/minio, dev/versitygw). The
// server listens on 127.0.0.1 only, has random credentials, and ends with the
// process that started it. If the environment names a server, as
// ATREST_TEST_S3_ENDPOINT, that one is used instead; see [External].
//
// It is for development only.
package devs3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/atrest/atrest/internal/child"
)

const (
	// startTimeout bounds the wait for a new process to answer. A cold
	// start takes a few tenths of a second; on a machine that is busy
	// compiling, much longer.
	startTimeout = time.Minute

	// stopTimeout is how long a server may take to shut down before it is
	// killed. MinIO gives the requests that are under way five seconds.
	stopTimeout = 10 * time.Second
)

// Options says which server to run and where it keeps its data.
type Options struct {
	// Kind chooses the server, one of [Kinds]. It must be set.
	Kind Kind

	// Dir is the directory where the server keeps its data, created if it
	// is missing; it stays when the server stops. No two servers may use
	// one directory, not even one after the other: their credentials differ.
	// If empty, it is a temporary directory, removed by [Server.Stop].
	Dir string

	// Log receives what the server prints. If nil, it is dropped, except
	// that the last lines become part of the error if the server fails.
	Log io.Writer
}

// Server is a running S3 server. Its methods may be called concurrently.
type Server struct {
	kind        Kind
	program     program // nil for External
	binary      string
	tempDir     string // private; removed by Stop; empty for External
	dataDir     string
	log         io.Writer
	credentials aws.Credentials
	region      string
	bucket      string          // what NewBucket returns; empty: a new one each time
	transport   *http.Transport // of every client, so that Stop can close their connections

	endpoint string // "http://127.0.0.1:PORT", fixed once started

	mu      sync.Mutex // guards the fields below, and one change of process at a time
	process *child.Process
	stopped bool
}

// Start starts a server and returns when it answers requests. ctx bounds the
// start only: the server runs until [Server.Stop], or until this process ends.
// If the server is not built, the error is [ErrNoBinary].
func Start(ctx context.Context, o Options) (*Server, error) {
	s, err := start(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("devs3: %w", err)
	}
	return s, nil
}

func start(ctx context.Context, o Options) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if o.Kind == External {
		return startExternal(ctx)
	}
	s, err := newServer(o)
	if err != nil {
		return nil, err
	}
	if err := s.bringUp(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// newServer prepares a server without starting anything.
func newServer(o Options) (*Server, error) {
	program, ok := programs()[o.Kind]
	if !ok {
		return nil, fmt.Errorf("no S3 server is of the kind %q: it is one of %q", o.Kind, Kinds())
	}
	binary, err := findBinary(o.Kind)
	if err != nil {
		return nil, err
	}
	s := &Server{
		kind:        o.Kind,
		program:     program,
		binary:      binary,
		log:         o.Log,
		credentials: randomCredentials(),
		region:      defaultRegion,
		transport:   newTransport(),
	}
	if s.tempDir, err = os.MkdirTemp("", "atrest-devs3-"); err != nil {
		return nil, fmt.Errorf("making a directory for the server: %w", err)
	}
	if err := s.makeDataDir(o.Dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.tempDir))
	}
	return s, nil
}

func (s *Server) bringUp(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.launch(ctx)
}

// Kind is which server this is.
func (s *Server) Kind() Kind { return s.kind }

// Endpoint is the server's URL, "http://127.0.0.1:PORT". It stays the same for
// the server's life, restarts included.
func (s *Server) Endpoint() string { return s.endpoint }

// Restart stops the server, as [Server.Stop] does, and starts it again under
// the same address, with the same credentials and data. It also revives a
// server that was killed.
func (s *Server) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return s.change("restart", func() error {
		s.transport.CloseIdleConnections()
		if err := s.process.Stop(stopTimeout); err != nil {
			return err
		}
		return s.launch(ctx)
	})
}

// Stop ends the server and waits until it is gone, then removes its temporary
// directory; Options.Dir stays. The server is asked first and killed after ten
// seconds, which is reported as an error. Calling Stop again does nothing. For
// [External] it only closes the clients' idle connections.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	s.stopped = true
	// First, since a server that shuts down waits for its connections.
	s.transport.CloseIdleConnections()
	var err error
	if s.process != nil {
		err = s.process.Stop(stopTimeout)
	}
	if s.tempDir != "" {
		err = errors.Join(err, os.RemoveAll(s.tempDir))
	}
	if err != nil {
		return fmt.Errorf("devs3: stop: %w", err)
	}
	return nil
}
