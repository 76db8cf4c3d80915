// Package devvault runs a real Vault server as a child process, for tests, the
// demo and the examples.
//
// It starts the repository's own build (dev/vault), HashiCorp's vault or
// OpenBao's bao, all of which understand the configuration it writes. The
// server listens on 127.0.0.1 only, is initialised with a single unseal key and
// unsealed, and ends with the process that started it.
//
// It is for development only: it keeps the unseal key and the root token, which
// no production set-up should do.
package devvault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atrest/atrest/internal/child"
	"github.com/hashicorp/vault/api"
)

const (
	// startTimeout bounds the wait for a new process to answer. A cold
	// start takes a tenth of a second; on a machine that is busy compiling,
	// much longer.
	startTimeout = time.Minute

	// stopTimeout is how long Vault may take to shut down before it is
	// killed.
	stopTimeout = 5 * time.Second
)

// Options says which Vault to run and on what. The zero value runs the
// repository's own build in memory.
type Options struct {
	// Binary is the server's executable. If empty, it is the environment
	// variable ATREST_TEST_VAULT_BINARY, and if that is empty too, the
	// repository's dev/bin/vault; see [Binary].
	Binary string

	// StorageDir is the directory where Vault keeps its data, created if it
	// is missing. A server started on a directory that an earlier one used
	// finds that one's data, root token and unseal key. No two servers may
	// use one directory at the same time. If empty, data is kept in memory.
	StorageDir string

	// Storage, if not empty, is the storage block of the configuration, in place
	// of StorageDir: storage "postgresql" { ... }.
	Storage string

	// Bare leaves the server as it starts, to be initialised and unsealed by
	// whoever is tested. RootToken and Unseal have nothing to give then.
	Bare bool

	// Log receives what the server prints. If nil, it is dropped, except
	// that the last lines become part of the error if the server fails.
	Log io.Writer
}

// Server is a running Vault. Its methods may be called concurrently.
type Server struct {
	external  string // URL of a server that was not started here, see Shared; then there is no process
	binary    executable
	tempDir   string // configuration file; removed by Stop
	data      dataDir
	storage   string // of the configuration; empty: of data
	bare      bool
	log       io.Writer
	transport *http.Transport // of every client, so that Stop can close their connections

	addr string                   // "127.0.0.1:PORT", fixed once started
	keys atomic.Pointer[initKeys] // replaced by a Restart of a server in memory

	mu      sync.Mutex // guards the fields below, and one change of process at a time
	process *child.Process
	stopped bool
}

// Start starts a Vault, initialises it if it is new, unseals it, and returns
// when it is ready. ctx bounds the start only: the server runs until
// [Server.Stop], or until this process ends.
func Start(ctx context.Context, o Options) (*Server, error) {
	s, err := start(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("devvault: %w", err)
	}
	return s, nil
}

func start(ctx context.Context, o Options) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
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
	binary, err := findBinary(o.Binary)
	if err != nil {
		return nil, err
	}
	data, err := openDataDir(o.StorageDir)
	if err != nil {
		return nil, err
	}
	tempDir, err := os.MkdirTemp("", "atrest-devvault-")
	if err != nil {
		return nil, fmt.Errorf("making a directory for the configuration: %w", err)
	}
	return &Server{
		binary:    binary,
		tempDir:   tempDir,
		data:      data,
		storage:   o.Storage,
		bare:      o.Bare,
		log:       o.Log,
		transport: newTransport(),
	}, nil
}

// bringUp takes a server from nothing to unsealed.
func (s *Server) bringUp(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.launchAndUnseal(ctx)
}

func (s *Server) launchAndUnseal(ctx context.Context) error {
	if err := s.launch(ctx); err != nil || s.bare {
		return err
	}
	if err := s.loadOrInit(ctx); err != nil {
		return err
	}
	return s.unseal(ctx)
}

// Addr is the server's URL, "http://127.0.0.1:PORT", or VAULT_ADDR for an
// external server. It stays the same for the server's life, restarts included.
func (s *Server) Addr() string {
	if s.external != "" {
		return s.external
	}
	return "http://" + s.addr
}

// RootToken is the token that may do everything, or VAULT_TOKEN for an external
// server, see [Shared].
func (s *Server) RootToken() string {
	if keys := s.keys.Load(); keys != nil {
		return keys.RootToken
	}
	return "" // not initialised yet
}

// Client returns a new client that holds the root token. Nothing in the
// environment changes where it connects, as whom, or through what proxy.
// (Vault's client library still fails on a VAULT_ variable that it cannot
// parse, used or not.) Its connections close with [Server.Stop].
func (s *Server) Client() (*api.Client, error) {
	client, err := s.newClient()
	if err != nil {
		return nil, fmt.Errorf("devvault: %w", err)
	}
	return client, nil
}

// Restart stops the server, as [Server.Stop] does, and starts and unseals it
// again under the same address. It also revives a server that was killed.
// A server in memory comes back empty, without the engines that were
// enabled, and with a new root token: make new clients after it.
func (s *Server) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.restart(ctx); err != nil {
		return fmt.Errorf("devvault: restart: %w", err)
	}
	return nil
}

func (s *Server) restart(ctx context.Context) error {
	if err := s.changeable(); err != nil {
		return err
	}
	if err := s.process.Stop(stopTimeout); err != nil {
		return err
	}
	s.transport.CloseIdleConnections()
	return s.launchAndUnseal(ctx)
}

// Stop ends the server and waits until it is gone, then removes what devvault
// made for itself; a StorageDir stays. Vault is asked first and killed after
// five seconds, which is reported as an error. Calling Stop again does nothing.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	s.stopped = true
	var err error
	if s.process != nil {
		err = s.process.Stop(stopTimeout)
	}
	s.transport.CloseIdleConnections()
	if err := errors.Join(err, os.RemoveAll(s.tempDir)); err != nil {
		return fmt.Errorf("devvault: stop: %w", err)
	}
	return nil
}

// configPath is where the server's configuration file is.
func (s *Server) configPath() string { return filepath.Join(s.tempDir, "vault.hcl") }
