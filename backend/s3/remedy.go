package s3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/atrest/atrest"
)

// remedies are what to do about error codes.
var remedies = map[string]string{
	"NoSuchBucket":      "there is no such bucket: create it (aws s3 mb), or correct Config.Bucket and the client's region and endpoint",
	"PermanentRedirect": "the bucket is in another region: set the client's Region, and BaseEndpoint if there is one, to the bucket's",
	"TemporaryRedirect": "the bucket is in another region: set the client's Region, and BaseEndpoint if there is one, to the bucket's",

	"InvalidAccessKeyId":           "the server does not know the access key: correct the client's credentials, or its endpoint",
	"XAdminUserNotFound":           "the server does not know the access key: correct the client's credentials, or its endpoint",
	"SignatureDoesNotMatch":        "the secret access key is not the one of the access key, or something on the way alters requests: correct the client's credentials",
	"RequestTimeTooSkewed":         "the clock of this machine differs too much from the server's: set it right",
	"AuthorizationHeaderMalformed": "the client's Region is not the server's: correct it",
	"ExpiredToken":                 "the client's credentials have expired: get new ones",
	"InvalidToken":                 "the client's session token is not valid: get new credentials",
	"TokenRefreshRequired":         "the client's credentials have expired: get new ones",
	"AccessDenied":                 "the client's credentials may not do this: README.md of backend/s3 lists the permissions needed",

	"InvalidObjectState": "it is archived: restore it first",
}

// remedy returns what to do about an error, as far as that is known.
func remedy(err error) string {
	if errors.Is(err, errUnsigned) {
		return "the client has no credentials, so that its requests are not signed: " + setCredentials
	}
	if remedy, ok := remedies[errorCode(err)]; ok {
		return remedy
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "the host of the endpoint is not found: correct the client's BaseEndpoint, or set UsePathStyle, without which the bucket is a part of that host's name"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return "nobody answers at the endpoint: correct the client's BaseEndpoint, or start the server"
	}
	return ""
}

const setCredentials = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the Credentials of its options"

// errUnsigned marks the refusal of a request of a client without credentials.
var errUnsigned = errors.New("not signed")

// An unsentError is what the client has failed with before it had a request to send.
type unsentError struct {
	region string
	err    error
}

func (e *unsentError) Error() string {
	if e.region == "" {
		return fmt.Sprintf("the client has no Region: set AWS_REGION, or the Region of its options; servers other than AWS mostly take us-east-1: %v", e.err)
	}
	return fmt.Sprintf("the client could not sign a request, as it has no credentials or could not get them: %s: %v", setCredentials, e.err)
}

func (e *unsentError) Unwrap() error { return e.err }

// sentinel is nil for what no credentials are to blame for.
func (e *unsentError) sentinel() error {
	if e.region == "" {
		return nil
	}
	// The SDK asks for the role of an EC2 instance when it has found nothing, so that
	// no answer means no credentials. Of others who give them it means no answer.
	op, ok := errors.AsType[*smithy.OperationError](e.err)
	if ok && op.Service() != "ec2imds" && classify(e.err) == atrest.ErrUnavailable {
		return atrest.ErrUnavailable
	}
	return atrest.ErrPermission
}

// noIdentity is how the SDK's errors of a client begin that has no credentials, or
// can't get them. There is no type for that.
const noIdentity = "get identity: "

// An explainer tells what the client itself lacks. Only it knows whether a request
// came to be sent.
type explainer struct {
	region string
	signs  bool
	sent   *atomic.Bool
}

func newExplainer(o *awss3.Options, sent *atomic.Bool) explainer {
	anonymous := o.Credentials == nil || aws.IsCredentialsProvider(o.Credentials, (*aws.AnonymousCredentials)(nil))
	return explainer{region: o.Region, signs: !anonymous, sent: sent}
}

func (explainer) ID() string { return "AtrestExplainer" }

func (x explainer) HandleFinalize(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleFinalize(ctx, in)
	switch {
	case err == nil:
	case !x.sent.Load() && (x.region == "" || strings.Contains(err.Error(), noIdentity)):
		err = &unsentError{region: x.region, err: err}
	case !x.signs && isForbidden(err):
		err = fmt.Errorf("%w: %w", errUnsigned, err)
	}
	return out, metadata, err
}

func isForbidden(err error) bool {
	response, ok := errors.AsType[*smithyhttp.ResponseError](err)
	return ok && (response.HTTPStatusCode() == 401 || response.HTTPStatusCode() == 403)
}
