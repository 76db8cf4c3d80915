package s3

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/atrest/atrest/internal/plaintext"
)

// guard goes with every request. It looks at the URL that the client has
// resolved, however it did that, just before the request is sent.
func (s *Store) guard(o *awss3.Options) {
	// Not every server has a checksum for every answer, and the client would log
	// a line each time. Whoever reads bodies authenticates them.
	o.DisableLogOutputChecksumValidationSkipped = true
	o.HTTPClient = s.http
	sent := new(atomic.Bool)
	explain := newExplainer(o, sent)
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		if err := stack.Finalize.Add(explain, middleware.Before); err != nil {
			return err
		}
		return stack.Finalize.Add(plaintextGuard{s.cfg.PlaintextHosts, sent}, middleware.After)
	})
}

// maxRedirects is how many redirections of one request are followed, as many as
// by net/http.
const maxRedirects = 10

// guarded returns the client as one that no redirection leads past the guard, as
// far as it is one of net/http or the SDK's own.
//
// One of net/http then follows none: where a PUT is followed by a GET of something
// else, its success would be taken for that of the PUT. That of the SDK follows
// those that keep the method, and goes on to do so. It is frozen, which is a copy
// with connections of its own, as its rules can't be added to otherwise.
func guarded(c awss3.HTTPClient, allowed []string) awss3.HTTPClient {
	switch c := c.(type) {
	case *http.Client:
		stays := *c // it shares the connections
		stays.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		return &stays
	case *awshttp.BuildableClient:
		frozen, ok := c.Freeze().(*http.Client)
		if !ok {
			return c
		}
		follows := frozen.CheckRedirect
		frozen.CheckRedirect = func(r *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return http.ErrUseLastResponse
			}
			if err := follows(r, via); err != nil {
				return err
			}
			return checkURL(r.URL, allowed)
		}
		return frozen
	}
	return c
}

// checkURL returns ErrPlaintextConnection for a URL that must not be asked.
func checkURL(u *url.URL, allowed []string) error {
	if u.Scheme == "https" {
		return nil
	}
	if err := plaintext.Check(u.Host, allowed); err != nil {
		return fmt.Errorf("%w, Config.PlaintextHosts", err)
	}
	return nil
}

type plaintextGuard struct {
	allowed []string
	sent    *atomic.Bool // that a request came so far
}

func (plaintextGuard) ID() string { return "AtrestPlaintextGuard" }

func (g plaintextGuard) HandleFinalize(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
	req, ok := in.Request.(*smithyhttp.Request)
	if !ok {
		return middleware.FinalizeOutput{}, middleware.Metadata{}, fmt.Errorf("unexpected request type %T", in.Request)
	}
	g.sent.Store(true)
	if err := checkURL(req.URL, g.allowed); err != nil {
		return middleware.FinalizeOutput{}, middleware.Metadata{}, err
	}
	return next.HandleFinalize(ctx, in)
}
