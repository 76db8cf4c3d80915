package s3

import (
	"context"
	"fmt"

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
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Finalize.Add(plaintextGuard{s.cfg.PlaintextHosts}, middleware.After)
	})
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
