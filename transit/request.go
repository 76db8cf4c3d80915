package transit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/atrest/atrest"
)

// maxAnswer bounds an answer, in bytes, at what Vault accepts as a request. A
// full batch answers with less than 2 MiB.
const maxAnswer = 32 << 20

// vault sends single requests through a private clone of the caller's client.
type vault struct {
	caller  *api.Client // whose token we use
	client  *api.Client // the clone
	addr    string      // of the server, without what may be secret in it
	timeout time.Duration
	tries   int
	log     *slog.Logger
}

// request is one request, which may be sent several times unless once is set.
type request struct {
	method     string
	path       string // below /v1/
	capability string // what a policy must grant on path
	body       *secretBody
	once       bool
}

// answer is what came back, whole.
type answer struct {
	status     int
	anonymous  bool // the request was sent without a token
	retryAfter time.Duration
	body       []byte
}

// newVault clones the caller's client, keeping its address, headers, namespace,
// rate limit and connections, and takes away what would get in the way.
//
// It returns ErrPlaintextConnection if the address, or the proxy on the way there,
// is not to be reached without TLS.
func newVault(cfg Config) (*vault, error) {
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
	return &vault{caller: cfg.Client, client: c, addr: addr, timeout: cfg.RequestTimeout, tries: cfg.MaxTries, log: cfg.Logger}, nil
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

// send makes one try. Its errors are those of the connection.
func (v *vault) send(ctx context.Context, r request) (*answer, error) {
	token := v.caller.Token() // the token of this moment
	resp, err := v.roundTrip(ctx, r, token)
	if resp != nil {
		defer resp.Body.Close()
	}
	// A refusal is an error to the client, but an answer to us.
	if _, refused := errors.AsType[*api.ResponseError](err); err != nil && !refused {
		return nil, err
	}
	body, err := readBounded(resp.Body, maxAnswer)
	if err != nil {
		return nil, err
	}
	return &answer{resp.StatusCode, token == "", retryAfter(resp.Response), body}, nil
}

func (v *vault) roundTrip(ctx context.Context, r request, token string) (*api.Response, error) {
	c := v.client.WithRequestCallbacks(func(out *api.Request) {
		out.ClientToken = token
		if r.body != nil {
			// Read in place: BodyBytes would be replaced by "null" when Vault
			// redirects to the active node, and could not be wiped.
			reader := r.body.reader()
			out.BodyBytes, out.Body, out.BodySize = nil, reader, int64(reader.Len())
		}
	})
	if r.method == http.MethodGet {
		return c.Logical().ReadRawWithContext(ctx, r.path)
	}
	return c.Logical().WriteRawWithContext(ctx, r.path, nil)
}

// retryAfter reads the header of that name, in seconds, which is the form that
// Vault's rate limit quotas use if told to send it. Vault rounds down, so that
// "0" means within a second (allow in vault/quotas/quotas_rate_limit.go).
// Without it, a rate limit counts by the second unless configured otherwise.
func retryAfter(resp *http.Response) time.Duration {
	n, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31)
	switch {
	case err == nil:
		return time.Duration(n+1) * time.Second
	case resp.StatusCode == http.StatusTooManyRequests:
		return time.Second
	}
	return 0
}

// try makes one try within the time for one, and sorts its outcome.
func (v *vault) try(ctx context.Context, r request) (*answer, error) {
	limited, cancel := context.WithTimeout(ctx, v.timeout)
	defer cancel()
	a, err := v.send(limited, r)
	switch {
	case err == nil && len(a.body) > maxAnswer:
		wipe(a.body)
		return nil, errGarbage(fmt.Sprintf("more than %d bytes", maxAnswer))
	case err == nil:
		return a, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("waiting for Vault's answer: %w", ctx.Err())
	case limited.Err() != nil:
		return nil, transient(fmt.Errorf("%w: no answer within %s", atrest.ErrVaultUnavailable, v.timeout))
	case errors.Is(err, atrest.ErrPlaintextConnection):
		return nil, fmt.Errorf("redirected by Vault: %w", err)
	}
	return nil, unreachable(err)
}
