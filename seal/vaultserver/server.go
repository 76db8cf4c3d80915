package vaultserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/child"
)

// Server is a supervised Vault. Its methods may be called concurrently. Printing it, with
// any verb, shows its address only.
type Server struct {
	c         Config // with defaults; constant
	at        addresses
	creds     *credentials // nil: without TLS
	redact    *strings.Replacer
	transport *http.Transport
	lock      *os.File

	stop     context.CancelCauseFunc
	done     chan struct{} // closed when the supervisor has ended
	restarts chan struct{} // asks the supervisor for a restart; holds one

	mu       sync.Mutex // guards the fields below
	process  *child.Process
	launches int // how many processes were started
	run      *Run
	state    State
	err      error         // why there is no run
	changed  chan struct{} // closed, and replaced, at each change of run or state
	stopErr  error
}

// A State says what the supervisor is doing.
type State int

const (
	Running State = iota // the process answers, sealed or not
	Down                 // it does not; it is being started, or will be
	Stopped              // for good, by Stop
)

// String is the state in a word.
func (s State) String() string { return [...]string{"running", "down", "stopped"}[s] }

// A Run is one life of the process, from its first answer to its end. Each begins with a
// sealed Vault.
type Run struct {
	Number int // of the process: 1 is the first that was started. Some never answer
	PID    int
	Ended  <-chan struct{} // closed when the process has ended
}

// Start starts a Vault and returns when it answers: sealed, not initialised, or however
// it is. ctx bounds the start only: the server runs until [Server.Stop], or until this
// process ends.
//
// A process that ends at once, because its database is not there yet or somebody has the
// port, is started again until Config.StartTimeout is over. Then the error is
// atrest.ErrVaultUnavailable, with the last lines that it printed. Other errors come at
// once: [ErrInUse], atrest.ErrUnsafePermissions of Config.Dir,
// atrest.ErrPlaintextConnection, ctx's, and what the system says if there is no such
// program.
func Start(ctx context.Context, c Config) (*Server, error) {
	s, err := start(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("vaultserver: %w", err)
	}
	return s, nil
}

func start(ctx context.Context, c Config) (*Server, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	s, err := prepare(c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.StartTimeout)
	defer cancel()
	p, err := s.firstLaunch(ctx)
	if err != nil {
		return nil, errors.Join(err, s.release())
	}
	life, stop := context.WithCancelCause(context.Background())
	s.stop = stop
	s.up(p)
	go s.supervise(life, p, time.Now())
	return s, nil
}

// prepare takes the directory and makes the certificate. It starts nothing.
func prepare(c Config) (*Server, error) {
	at, err := choose(c)
	if err != nil {
		return nil, err
	}
	lock, err := openDir(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("Config.Dir: %w", err)
	}
	creds, err := c.TLS.prepare(c.Dir, certHosts(c, at))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("Config.TLS: %w", err), lock.Close())
	}
	return &Server{
		c: c, at: at, creds: creds, lock: lock,
		redact:    newRedacter(c.Storage),
		transport: newTransport(creds),
		done:      make(chan struct{}),
		restarts:  make(chan struct{}, 1),
		changed:   make(chan struct{}),
	}, nil
}

// certHosts lists the hosts by which clients know the server.
func certHosts(c Config, at addresses) []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	for _, address := range []string{at.local, at.apiURL} {
		if u, err := url.Parse(address); err == nil { // it has been, by choose
			hosts = append(hosts, u.Hostname())
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// firstLaunch tries to start the process until ctx ends. Where ports may be chosen, each
// try has others.
func (s *Server) firstLaunch(ctx context.Context) (*child.Process, error) {
	var waits backoff
	var failed error // of the last try that came to its end
	for {
		p, err := s.launch(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			if failed == nil { // nor did this one come to its end, or only just
				failed = err
			}
			return nil, fmt.Errorf("%w (%w)", failed, context.Cause(ctx))
		case err == nil || !errors.Is(err, atrest.ErrVaultUnavailable):
			return p, err
		}
		failed = err
		wait := waits.next()
		s.c.Logger.WarnContext(ctx, "Vault did not start; trying again", "after", wait, "error", err)
		if !s.pause(ctx, wait) {
			return nil, fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		}
		if s.at, err = choose(s.c); err != nil {
			return nil, err
		}
	}
}

// Addr is the server's URL for clients on this machine. It does not change.
func (s *Server) Addr() string { return s.at.local }

// ClusterAddr is the host and port where the server listens for other nodes, if its
// storage is for several. It does not change.
func (s *Server) ClusterAddr() string { return s.at.cluster }

// CertFile is the path of the certificate that the server shows, or "" without TLS.
func (s *Server) CertFile() string {
	if s.creds == nil {
		return ""
	}
	return s.creds.certFile
}

// PID is the id of the process that runs, or 0.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return 0
	}
	return s.run.PID
}

// State says what the supervisor is doing.
func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Err says why the server is not running: how its process ended or why it does not start,
// [ErrStopped] after Stop, or nil if it runs.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Done is closed when the server has been stopped by [Server.Stop]. That its process ends
// is no reason: it is started again.
func (s *Server) Done() <-chan struct{} { return s.done }

// Format writes the address, whatever the verb: the fields lead to the configuration.
func (s *Server) Format(f fmt.State, _ rune) {
	if s == nil {
		io.WriteString(f, "no Vault server")
		return
	}
	io.WriteString(f, "Vault server at "+s.at.local)
}
