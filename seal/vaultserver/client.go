package vaultserver

import (
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"
)

// requestTimeout bounds a request of a client. Vault ends its side after 90 s.
const requestTimeout = 90 * time.Second

// newTransport carries the requests of all clients. It has no proxy, whatever the
// environment says, and trusts nobody but the server.
func newTransport(creds *credentials) *http.Transport {
	return &http.Transport{
		TLSClientConfig:     creds.clientConfig(),
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     30 * time.Second,
	}
}

// Client returns a new client of the server, without a token, and without retries. With
// TLS it trusts the server's certificate, or CAFile of [TLSFiles], and nothing else.
// Nothing in the environment changes where it connects, as whom, or through what proxy;
// but Vault's library fails on a VAULT_ variable that it can't parse, used or not. Its
// connections end with [Server.Stop].
func (s *Server) Client() (*api.Client, error) {
	client, err := api.NewClient(&api.Config{
		Address:    s.at.local,
		HttpClient: &http.Client{Transport: s.transport, CheckRedirect: dontFollow},
		Timeout:    requestTimeout,
		MaxRetries: 0,
	})
	if err != nil {
		return nil, fmt.Errorf("vaultserver: making a client: %w", err)
	}
	// The library applies some variables even to a complete configuration. What it
	// may have taken from them is replaced.
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}}) // drops a namespace and extra headers
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	client.ClearToken()
	return client, nil
}

// dontFollow leaves redirects to Vault's client, which handles them itself.
func dontFollow(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
