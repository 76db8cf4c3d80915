package vaultclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/atrest/atrest"
)

// maxAnswer bounds an answer, in bytes, at what Vault accepts as a request. A
// full batch of transit's answers with less than 2 MiB.
const maxAnswer = 32 << 20

// MethodList is the method that lists what is below a path. It is sent as GET with
// ?list=true, which is the same to Vault and passes proxies.
const MethodList = "LIST"

// Request is one request, which may be sent several times unless Once is set.
type Request struct {
	// Method is GET, PUT, POST, DELETE or [MethodList].
	Method string

	// Path is the part below /v1/, such as "sys/init". It must hold no secret, for
	// errors and the log name it. See [ValidPath].
	Path string

	// Capability is what a policy must grant on Path, for the error that says so.
	// Empty for a path that needs no token.
	Capability string

	// Body is what [Body] or [RawBody] returned. [Do] wipes it.
	Body *SecretBody

	// Once is for a request whose repetition is not safe.
	Once bool

	// Timeout is how long one try may take. Default: Config.RequestTimeout.
	Timeout time.Duration

	// Accept are statuses, beside 200 to 299, that come with an answer instead of
	// an error, such as sys/health's 503. An answer of such a status that has errors
	// and no data is an error all the same.
	Accept []int

	// Refused, if set, is asked first what an error answer of Vault's means. Its
	// error is returned as it is, and the request not sent again; nil stands for the
	// error that it would be otherwise. The text is Vault's own: see [Redact].
	Refused func(status int, text string) error
}

// check says what is wrong with the request.
func (r Request) check() error {
	switch r.Method {
	case http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete, MethodList:
	default:
		return fmt.Errorf("%q is not a method for requests to Vault", r.Method)
	}
	if !ValidPath(r.Path) {
		return fmt.Errorf("%q is not a path for requests to Vault", r.Path)
	}
	if r.Body != nil && r.Body.wiped() {
		return errors.New("the body of this request has been wiped") // and would go out empty
	}
	return nil
}

// answer is what came back, whole.
type answer struct {
	status     int
	anonymous  bool // the request was sent without a token
	retryAfter time.Duration
	body       []byte
}

// send makes one try. Its errors are those of the connection.
func (c *Client) send(ctx context.Context, r Request) (*answer, error) {
	token := c.currentToken()
	resp, err := c.roundTrip(ctx, r, token)
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

// currentToken returns the token of this moment.
func (c *Client) currentToken() string {
	if c.token != nil {
		return c.token()
	}
	return c.caller.Token()
}

// roundTrip uses the one raw call of Vault's client that can send anything: what
// makes up the request is replaced before it is sent, or followed to elsewhere.
func (c *Client) roundTrip(ctx context.Context, r Request, token string) (*api.Response, error) {
	sender := c.client.WithRequestCallbacks(func(out *api.Request) {
		out.Method = r.Method
		if r.Method == MethodList {
			out.Method = http.MethodGet
			out.Params.Set("list", "true") // in Params, it survives a redirect
		}
		out.ClientToken = token
		if c.token != nil {
			// Set as a header, the caller's token would take the place of none.
			out.Headers.Del(api.AuthHeaderName)
		}
		if r.Body != nil {
			// Read in place: BodyBytes would be replaced by "null" when Vault
			// redirects to the active node, and could not be wiped.
			reader := r.Body.reader()
			out.BodyBytes, out.Body, out.BodySize = nil, reader, int64(reader.Len())
		}
	})
	return sender.Logical().WriteRawWithContext(ctx, r.Path, nil)
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
func (c *Client) try(ctx context.Context, r Request) (*answer, error) {
	timeout := c.timeout
	if r.Timeout > 0 {
		timeout = r.Timeout
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	a, err := c.send(limited, r)
	switch {
	case err == nil && len(a.body) > maxAnswer:
		Wipe(a.body)
		return nil, Garbage(fmt.Sprintf("more than %d bytes", maxAnswer))
	case err == nil:
		return a, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("waiting for Vault's answer: %w", ctx.Err())
	case limited.Err() != nil:
		return nil, transient(fmt.Errorf("%w: no answer within %s", atrest.ErrVaultUnavailable, timeout))
	case errors.Is(err, atrest.ErrPlaintextConnection):
		return nil, fmt.Errorf("redirected by Vault: %w", err)
	}
	return nil, unreachable(err)
}
