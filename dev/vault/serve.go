package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/vault"
)

// drainTime is how long requests that are under way at shutdown may take. A
// request that waits on a dead database must not keep the process alive.
const drainTime = 3 * time.Second

// serve runs a server until ctx ends, then shuts it down. What a person or a
// test waits for goes to stdout, the log to stderr.
func serve(ctx context.Context, c *config, stdout, stderr io.Writer) error {
	log := hclog.New(&hclog.LoggerOptions{Level: c.LogLevel, Output: stderr})
	listener, err := listen(c.Listener)
	if err != nil {
		return err
	}
	defer listener.Close() // a second close, after the HTTP server's, is harmless
	at, err := resolveAddresses(c, listener.Addr())
	if err != nil {
		return err
	}
	core, err := newCore(c, at, log)
	if err != nil {
		return err
	}
	if err := announce(stdout, c, at, listener.Addr()); err != nil {
		return errors.Join(err, core.Shutdown())
	}
	return serveUntilDone(ctx, core, newHTTPServer(apiHandler(core, c.Listener), log), listener)
}

// announce prints where the server listens and the line by which scripts know
// that it answers. Connections are accepted from the moment of binding, so a
// client that comes right after this line only waits.
func announce(stdout io.Writer, c *config, at addresses, bound net.Addr) error {
	tls := "enabled"
	if c.Listener.TLSDisable {
		tls = "disabled"
	}
	_, err := fmt.Fprintf(stdout, `==> Vault server configuration:

             Api Address: %s
              Listener 1: tcp (addr: "%s", tls: "%s")
               Log Level: %s
                 Storage: %s
                 Version: Vault v%s (atrest development server)

==> Vault server started! Log data will stream in below:

`, at.api, bound, tls, c.LogLevel, c.Storage.Type, vaultVersion)
	if err != nil {
		return fmt.Errorf("announcing the server: %w", err)
	}
	return nil
}

// serveUntilDone answers requests until ctx ends or the listener fails, then
// closes the listener and seals the core.
func serveUntilDone(ctx context.Context, core *vault.Core, server *http.Server, listener net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("listener: %w", err)
	}
	return errors.Join(err, shutDown(core, server))
}

// shutDown stops the HTTP server first, so that no request meets a core that
// is going away, then seals the core, which also gives up the leader's lock.
func shutDown(core *vault.Core, server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		// Requests outlived drainTime; cut them off. A failure to close
		// an already broken connection changes nothing.
		server.Close()
	}
	if err := core.Shutdown(); err != nil {
		return fmt.Errorf("sealing the core: %w", err)
	}
	return nil
}
