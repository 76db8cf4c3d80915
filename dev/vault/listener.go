package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/vault"
)

// listen binds the listener's address, with TLS unless that is disabled.
func listen(c listenerConfig) (net.Listener, error) {
	plain, err := net.Listen("tcp", c.Address)
	if err != nil {
		return nil, fmt.Errorf("listener: %w", err)
	}
	if c.TLSDisable {
		return plain, nil
	}
	certificate, err := tls.LoadX509KeyPair(c.TLSCertFile, c.TLSKeyFile)
	if err != nil {
		plain.Close() // the error that matters is the certificate's
		return nil, fmt.Errorf("listener certificate: %w", err)
	}
	return tls.NewListener(plain, &tls.Config{
		Certificates: []tls.Certificate{certificate},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
	}), nil
}

// apiHandler serves Vault's HTTP API.
func apiHandler(core *vault.Core, c listenerConfig) http.Handler {
	return vaulthttp.Handler.Handler(&vault.HandlerProperties{
		Core:           core,
		ListenerConfig: &configutil.Listener{Type: "tcp", Address: c.Address, TLSDisable: c.TLSDisable},
	})
}

// newHTTPServer wraps the API in a server with Vault's own time limits.
func newHTTPServer(handler http.Handler, log hclog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       5 * time.Minute,
		ErrorLog:          log.StandardLogger(nil),
	}
}
