package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

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

	// errInvalidRange is the answer to a range that begins at the end of the
	// object or beyond.
	errInvalidRange = errors.New("invalid range")
)

// errNoETag refuses what can be decided by an ETag only.
var errNoETag = fmt.Errorf("%w: the server, or something in front of it, gives no ETag", atrest.ErrUnsupported)

// codes are the error codes of S3, and of the servers tested, that mean more
// than their HTTP status does.
var codes = map[string]error{
	"NoSuchKey":    atrest.ErrNotFound,
	"NotFound":     atrest.ErrNotFound,
	"NoSuchBucket": atrest.ErrStorageMissing,
	"NoSuchUpload": errNoUpload,
	"InvalidPart":  errNoUpload, // parts went with it

	"PreconditionFailed":         errPrecondition,
	"ConditionalRequestConflict": errConcurrent,
	"InvalidRange":               errInvalidRange,

	"InvalidAccessKeyId":    atrest.ErrPermission,
	"SignatureDoesNotMatch": atrest.ErrPermission,
	"ExpiredToken":          atrest.ErrPermission,
	"InvalidToken":          atrest.ErrPermission,
	"TokenRefreshRequired":  atrest.ErrPermission,
	"XAdminUserNotFound":    atrest.ErrPermission, // VersityGW, with status 404

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
	if sentinel == atrest.ErrStorageMissing {
		return fmt.Errorf("%w: there is no such bucket: create it (aws s3 mb), or correct Config.Bucket and the client's region and endpoint: %w", sentinel, err)
	}
	if sentinel != nil {
		return fmt.Errorf("%w: %w", sentinel, err)
	}
	return err
}

// classify returns the sentinel for an error, or nil.
func classify(err error) error {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		if sentinel, ok := codes[api.ErrorCode()]; ok {
			return sentinel
		}
	}
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		if sentinel := classifyStatus(response.HTTPStatusCode()); sentinel != nil {
			return sentinel
		}
	}
	if isConnection(err) {
		return atrest.ErrUnavailable
	}
	return nil
}

func classifyStatus(status int) error {
	switch {
	case status == 401, status == 403:
		return atrest.ErrPermission
	case status == 404:
		return atrest.ErrNotFound
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

// errAborted is what the caller gets for errNoUpload.
func errAborted(err error) error {
	return fmt.Errorf("%w: somebody else has aborted the upload: %v", atrest.ErrUnavailable, err)
}

// isBadRequest tells whether the server takes the request for a wrong one.
func isBadRequest(err error) bool {
	response, ok := errors.AsType[*smithyhttp.ResponseError](err)
	return ok && response.HTTPStatusCode() == 400
}
