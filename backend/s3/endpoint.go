package s3

import (
	"context"
	"fmt"
	"net/http"

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
	o.HTTPClient = withoutRedirects(o.HTTPClient)
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Finalize.Add(plaintextGuard{s.cfg.PlaintextHosts}, middleware.After)
	})
}

// withoutRedirects returns the client as one that follows no redirections, as far
// as it is one of net/http. They would lead past the guard; and where a PUT is
// followed by a GET of something else, its success would be taken for that of the
// PUT. The default client of the SDK follows none that change the method.
func withoutRedirects(c awss3.HTTPClient) awss3.HTTPClient {
	follower, ok := c.(*http.Client)
	if !ok {
		return c
	}
	stays := *follower // it shares the connections
	stays.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &stays
}

type plaintextGuard struct{ allowed []string }

func (plaintextGuard) ID() string { return "AtrestPlaintextGuard" }

func (g plaintextGuard) HandleFinalize(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
	req, ok := in.Request.(*smithyhttp.Request)
	if !ok {
		return middleware.FinalizeOutput{}, middleware.Metadata{}, fmt.Errorf("unexpected request type %T", in.Request)
	}
	if req.URL.Scheme != "https" {
		if err := plaintext.Check(req.URL.Host, g.allowed); err != nil {
			return middleware.FinalizeOutput{}, middleware.Metadata{}, err
		}
	}
	return next.HandleFinalize(ctx, in)
}
