package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/atrest/atrest"
)

// Answers that this package acts on. They do not leave it bare.
var (
	// errPrecondition is the answer that a condition is not met, or that somebody
	// else was changing the same key.
	errPrecondition = errors.New("precondition failed")

	// errConcurrent is the errPrecondition that does not say that the condition is
	// not met: only that somebody else was changing the same key.
	errConcurrent = fmt.Errorf("%w: somebody else was changing it", errPrecondition)

	// errNoUpload is the answer that a multipart upload is not there: aborted, or
	// completed.
	errNoUpload = errors.New("no such upload")

	// errInvalidPart is the answer that parts of it are not there, or not as the
	// server had acknowledged them. They go with an upload that is aborted.
	errInvalidPart = fmt.Errorf("%w with these parts", errNoUpload)

	// errInvalidRange is the answer to a range that begins at the end of the
	// object or beyond.
	errInvalidRange = errors.New("invalid range")
)

// errNotS3 is the outcome of an answer that no S3 server gives.
var errNotS3 = fmt.Errorf("%w: the endpoint does not speak S3, or something in front of it answers in its place: correct the client's BaseEndpoint, or set UsePathStyle",
	atrest.ErrStorageMissing)

// errOtherNotFound is the outcome of a status 404 with an error code that does not
// tell that an object is not there.
var errOtherNotFound = fmt.Errorf("%w: the server answers that something is not found, but not the object: correct Config.Bucket and the client's endpoint",
	atrest.ErrStorageMissing)

// errNoETag refuses what can be decided by an ETag only.
var errNoETag = fmt.Errorf("%w: the server, or something in front of it, gives no ETag", atrest.ErrUnsupported)

// codes are the error codes of S3, and of the servers tested, that mean more
// than their HTTP status does.
var codes = map[string]error{
	"NoSuchKey":         atrest.ErrNotFound,
	"NoSuchBucket":      atrest.ErrStorageMissing,
	"PermanentRedirect": atrest.ErrStorageMissing, // it is in another region
	"TemporaryRedirect": atrest.ErrStorageMissing,
	"NoSuchUpload":      errNoUpload,
	"InvalidPart":       errInvalidPart,

	"PreconditionFailed":         errPrecondition,
	"ConditionalRequestConflict": errConcurrent,
	"InvalidRange":               errInvalidRange,

	"InvalidAccessKeyId":           atrest.ErrPermission,
	"SignatureDoesNotMatch":        atrest.ErrPermission,
	"RequestTimeTooSkewed":         atrest.ErrPermission,
	"AuthorizationHeaderMalformed": atrest.ErrPermission, // signed for another region
	"ExpiredToken":                 atrest.ErrPermission,
	"InvalidToken":                 atrest.ErrPermission,
	"TokenRefreshRequired":         atrest.ErrPermission,
	"XAdminUserNotFound":           atrest.ErrPermission, // VersityGW, with status 404

	"EntityTooLarge":   atrest.ErrTooLarge,
	"MetadataTooLarge": atrest.ErrTooLarge,
	"KeyTooLongError":  atrest.ErrTooLarge,

	"XMinioStorageFull":              atrest.ErrStorageFull,
	"XMinioAdminBucketQuotaExceeded": atrest.ErrStorageFull,
	"InsufficientStorage":            atrest.ErrStorageFull,
	"QuotaExceeded":                  atrest.ErrStorageFull,

	// Status 400. What was sent has not arrived, or not whole.
	"RequestTimeout":            atrest.ErrUnavailable,
	"IncompleteBody":            atrest.ErrUnavailable,
	"BadDigest":                 atrest.ErrUnavailable,
	"XAmzContentSHA256Mismatch": atrest.ErrUnavailable,

	// Archived in another storage class; it has to be restored first.
	"InvalidObjectState": atrest.ErrUnavailable,
}

// describe makes an error of the client one of package atrest. If ctx has ended,
// errors.Is finds ctx.Err().
func describe(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	case errors.Is(err, atrest.ErrPlaintextConnection):
		return err
	}
	sentinel := classify(err)
	if sentinel == nil {
		return err
	}
	if remedy := remedy(err); remedy != "" {
		return fmt.Errorf("%w: %s: %w", sentinel, remedy, err)
	}
	return fmt.Errorf("%w: %w", sentinel, err)
}

// classify returns the sentinel for an error, or nil.
func classify(err error) error {
	if unsent, ok := errors.AsType[*unsentError](err); ok {
		return unsent.sentinel()
	}
	code := errorCode(err)
	if sentinel, ok := codes[code]; ok {
		return sentinel
	}
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		if sentinel := classifyStatus(response, code); sentinel != nil {
			return sentinel
		}
	}
	if isConnection(err) {
		return atrest.ErrUnavailable
	}
	return nil
}

func classifyStatus(response *smithyhttp.ResponseError, code string) error {
	switch status := response.HTTPStatusCode(); {
	case status == 401, status == 403:
		return atrest.ErrPermission
	case status == 404 && isHead(response):
		return atrest.ErrNotFound // the answer to a HEAD can't say what is not found
	case status/100 == 3 && code == "", status == 404 && code == "":
		return errNotS3
	case status == 404:
		return errOtherNotFound
	case status == 405, status == 501:
		return atrest.ErrUnsupported
	case status == 412:
		return errPrecondition
	case status == 416:
		return errInvalidRange
	// 408 and, of MinIO, 499 say that the request has not arrived whole.
	case status == 408, status == 429, status == 499, status >= 500:
		return atrest.ErrUnavailable
	}
	return nil
}

// errorCode returns the error code of S3, or "" for an answer that has none, such
// as the page of a web server. The SDK then makes one of the status.
func errorCode(err error) string {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return ""
	}
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		text := http.StatusText(response.HTTPStatusCode())
		if api.ErrorMessage() == text && api.ErrorCode() == strings.ReplaceAll(text, " ", "") {
			return ""
		}
	}
	return api.ErrorCode()
}

func isHead(response *smithyhttp.ResponseError) bool {
	return response.Response != nil && response.Response.Request != nil && response.Response.Request.Method == http.MethodHead
}

// isConnection tells whether there was no whole answer.
func isConnection(err error) bool {
	if _, ok := errors.AsType[*smithyhttp.RequestSendError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// isRefusal tells whether an answer says that what was to be changed is not
// there, or not as it was to be.
func isRefusal(err error) bool {
	return errors.Is(err, errPrecondition) || errors.Is(err, atrest.ErrNotFound) || errors.Is(err, errNoUpload)
}

// errUploadLost is what the caller gets for errNoUpload.
func errUploadLost(err error) error {
	if errors.Is(err, errInvalidPart) {
		return fmt.Errorf("%w: the server does not have the parts of the upload that it has acknowledged; they may have been removed with the upload: %v",
			atrest.ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %s: %v", atrest.ErrUnavailable, unknownUpload, err)
}

const unknownUpload = "the server does not know the upload any more: a rule of the bucket, a Sweep or somebody else may have aborted it"

// isBadRequest tells whether the server takes the request for a wrong one.
func isBadRequest(err error) bool {
	response, ok := errors.AsType[*smithyhttp.ResponseError](err)
	return ok && response.HTTPStatusCode() == 400
}
