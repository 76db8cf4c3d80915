// Package vaultclient sends single requests to Vault (or OpenBao) for the
// packages of this module that need one, through a private clone of the caller's
// client. What it sees to is the same whatever the request:
//
//   - Nothing is sent in the clear to another machine, not even by way of a proxy
//     or a redirect, unless the configuration names the host.
//   - Retries are its own: bounded in number and in time, only of what may help,
//     and never of a request that must be sent once.
//   - Answers are bounded. They and the bodies of requests can be wiped, and no
//     secret in them becomes a string on its way.
//   - Errors are those of package atrest. They do not quote an answer but for
//     Vault's own reason, with what looks like a secret taken out.
package vaultclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"
)

const (
	// defaultRequestTimeout is far above what Vault takes for a full batch
	// (tens of milliseconds), and short enough that a call whose caller has no
	// deadline learns of a lost Vault within a minute, after all its tries.
	defaultRequestTimeout = 10 * time.Second

	defaultMaxTries = 4
)

// Config says which Vault to use and how. Its fields are those of the same name in
// the configuration of the package that uses this one.
type Config struct {
	// Client reaches Vault. Required. Its address, namespace and headers are those
	// of the moment of New; its token is that of each request's.
	Client *api.Client

	// PlaintextHosts are the hosts to which http:// is allowed although they are
	// not on this machine.
	PlaintextHosts []string

	// RequestTimeout is how long one try of one request may take. Default 10 s.
	RequestTimeout time.Duration

	// MaxTries is how often a request is sent at most. 1 means no retries.
	// Default 4.
	MaxTries int

	// Logger is told of retries. It never sees a secret. Default: discard.
	Logger *slog.Logger
}

// Format writes nothing of the fields, whatever the verb: with some verbs, fmt
// would print the client with its token.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, "configuration of a Vault client") }

func (c Config) withDefaults() (Config, error) {
	c.RequestTimeout = cmp.Or(c.RequestTimeout, defaultRequestTimeout)
	c.MaxTries = cmp.Or(c.MaxTries, defaultMaxTries)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	switch {
	case c.Client == nil:
		return c, errors.New("Config.Client is required")
	case c.RequestTimeout < 0:
		return c, fmt.Errorf("Config.RequestTimeout is negative: %s", c.RequestTimeout)
	case c.MaxTries < 0:
		return c, fmt.Errorf("Config.MaxTries is negative: %d", c.MaxTries)
	}
	return c, nil
}

// A Client sends requests, see [Do]. It holds no resources that need closing, and
// is safe for concurrent use. Printing it, with any verb, shows the address only.
type Client struct {
	caller  *api.Client   // whose token we use
	client  *api.Client   // the clone
	token   func() string // instead of the caller's, unless nil
	addr    string        // of the server, without what may be secret in it
	timeout time.Duration
	tries   int
	log     *slog.Logger
}

// New clones the caller's client, keeping its address, headers, namespace,
// rate limit and connections, and takes away what would get in the way. It sends
// nothing.
//
// It returns atrest.ErrPlaintextConnection if the address, or the proxy on the way
// there, is not to be reached without TLS.
func New(cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	sender := cfg.Client.CloneConfig().HttpClient
	addr, err := checkAddress(sender, cfg.Client.Address(), cfg.PlaintextHosts)
	if err != nil {
		return nil, err
	}
	c, err := clone(cfg.Client)
	if err != nil {
		// Vault's client has no other errors here than those of its settings.
		return nil, fmt.Errorf("cloning the Vault client: %w", err)
	}
	if addr := cfg.Client.Address(); c.Address() != addr {
		// A clone starts from the agent's address, even after SetAddress.
		if err := c.SetAddress(addr); err != nil {
			return nil, fmt.Errorf("cloning the Vault client: %w", err)
		}
	}
	// The retries are ours: the client's would multiply with them, and its
	// policy takes 501 or a sealed Vault for something that passes.
	c.SetMaxRetries(0)
	c.SetCheckRetry(func(_ context.Context, resp *http.Response, _ error) (bool, error) {
		return false, checkRedirect(sender, resp, cfg.PlaintextHosts)
	})
	// So is the timeout: the client's ends a raw request's context on return,
	// before the body has been read.
	c.SetClientTimeout(0)
	// VAULT_WRAP_TTL in the environment would turn each answer into a token.
	c.SetWrappingLookupFunc(func(string, string) string { return "" })
	c = c.WithResponseCallbacks(boundBody)
	return &Client{caller: cfg.Client, client: c, addr: addr, timeout: cfg.RequestTimeout, tries: cfg.MaxTries, log: cfg.Logger}, nil
}

// clone returns a client with an http.Client of its own, which does not follow
// redirects by itself. Vault's client sets up the one that it makes so, but not
// one that it is given, and then nobody would look at where a redirect leads.
func clone(caller *api.Client) (*api.Client, error) {
	config := caller.CloneConfig()
	config.HttpClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c, err := api.NewClient(config)
	if err != nil {
		return nil, err
	}
	c.SetHeaders(caller.Headers()) // a copy; the namespace is one of them
	return c, nil
}

// boundBody comes before the client itself reads the body of a refusal, which
// it does to the end.
func boundBody(r *api.Response) {
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(r.Body, maxAnswer+1), r.Body}
}

// WithToken returns a Client that shares everything with c but the token: each try
// of a request carries what token returns at that moment, or none for "", and never
// the token of the caller's client. token must be safe for concurrent use; nil stands
// for the token of the caller's client.
func (c *Client) WithToken(token func() string) *Client {
	view := *c
	view.token = token
	return &view
}

// Addr returns the address of the server, scheme and host, without what may be
// secret in it.
func (c *Client) Addr() string { return c.addr }

// Format writes the address, whatever the verb: the fields lead to a client, and
// the client to its token.
func (c *Client) Format(f fmt.State, _ rune) {
	if c == nil {
		io.WriteString(f, "no Vault client")
		return
	}
	io.WriteString(f, "client of Vault at "+c.addr)
}
