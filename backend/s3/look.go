package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// seen is what one answer of the server says of an object.
type seen struct {
	backend.Attrs
	header []byte
	etag   string
	damage error // ErrTampered, and then there is no version
	exists bool
}

// look returns what is at key. An object that is missing is no error.
//
// It asks for the first byte rather than for none, as VersityGW takes what it
// answers to a GET from one open file, but what it answers to a HEAD from whatever
// is at that path at each moment: the size of one object, the metadata of the
// next.
func (s *Store) look(ctx context.Context, key string) (seen, error) {
	for range commitTries {
		at, body, err := s.fetch(ctx, key, 0, 1)
		if err == nil {
			body.Close()
			return at, nil
		}
		if errors.Is(err, errInvalidRange) {
			at, err = s.head(ctx, key)
			if err == nil && at.Size > 0 {
				continue // it was empty a moment ago
			}
			if errors.Is(err, atrest.ErrNotFound) {
				continue // a GET tells what is not found, a HEAD does not
			}
		}
		if errors.Is(err, atrest.ErrNotFound) {
			return seen{}, nil
		}
		return at, err
	}
	return seen{}, errRestless
}

// errRestless is the outcome of looks that each contradict the one before.
var errRestless = fmt.Errorf("%w: the server gives no range of it, although it says that it is there", atrest.ErrUnavailable)

// head looks at an empty object, of which there is no first byte.
func (s *Store) head(ctx context.Context, key string) (seen, error) {
	out, err := s.client.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: &s.cfg.Bucket, Key: &key}, s.guard)
	if err != nil {
		return seen{}, describe(ctx, err)
	}
	size := aws.ToInt64(out.ContentLength)
	if size < 0 {
		return seen{}, damaged("the server says that it has a negative size")
	}
	return newSeen(out.Metadata, out.ETag, size), nil
}

func newSeen(metadata map[string]string, etag *string, size int64) seen {
	at := seen{etag: aws.ToString(etag), exists: true}
	at.Size = size
	at.Version, at.header, at.damage = parseMetadata(metadata)
	return at
}

// fetch asks for up to n bytes from offset, n > 0, and returns the answer with
// its body. What begins at the end of the object or beyond is errInvalidRange.
func (s *Store) fetch(ctx context.Context, key string, offset, n int64) (seen, *part, error) {
	// Inclusive, and cut by the server at the end of the object (RFC 9110, section
	// 14.1.2). A sum beyond the largest number is cut here.
	last := offset + n - 1
	if last < offset {
		last = 1<<63 - 1
	}
	rng := fmt.Sprintf("bytes=%d-%d", offset, last)
	fetching, cancel := context.WithCancel(ctx)
	out, err := s.client.GetObject(fetching, &awss3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: &key, Range: &rng}, s.guard)
	if err != nil {
		cancel()
		return seen{}, nil, describe(ctx, err)
	}
	length := int64(-1) // not given
	if out.ContentLength != nil {
		length = *out.ContentLength
	}
	var size int64
	if contentRange := aws.ToString(out.ContentRange); contentRange == "" {
		size, err = checkWhole(out, length, offset, n)
	} else {
		size, err = checkRange(contentRange, length, offset, n)
	}
	if err != nil {
		cancel()
		out.Body.Close()
		return seen{}, nil, err
	}
	body := &part{ReadCloser: out.Body, left: min(n, size-offset), cancel: cancel}
	return newSeen(out.Metadata, out.ETag, size), body, nil
}

// checkWhole returns the size of the object, and an error unless the answer is all
// of it and no more than was asked for. Some servers give that without more ado. A
// range that does not say which one it is has status 206 all the same.
func checkWhole(out *awss3.GetObjectOutput, length, offset, n int64) (size int64, err error) {
	answer, ok := awsmiddleware.GetRawResponse(out.ResultMetadata).(*smithyhttp.Response)
	if ok && answer.StatusCode == http.StatusOK && offset == 0 && 0 <= length && length <= n {
		return length, nil
	}
	return 0, fmt.Errorf("%w: asked for %d bytes from %d, the server answered with %d bytes and does not say which", atrest.ErrUnsupported, n, offset, length)
}

// checkRange returns the size of the object, and an error unless the answer is
// to the range asked for.
func checkRange(contentRange string, length, offset, n int64) (size int64, err error) {
	span, total, _ := strings.Cut(strings.TrimPrefix(contentRange, "bytes "), "/")
	size, err = strconv.ParseInt(total, 10, 64)
	if err != nil || size <= offset || span != fmt.Sprintf("%d-%d", offset, offset+min(n, size-offset)-1) || length != min(n, size-offset) {
		return 0, fmt.Errorf("%w: asked for %d bytes from %d, the server answered with the range %.60q and %d bytes",
			atrest.ErrUnsupported, n, offset, contentRange, length)
	}
	return size, nil
}

// A part is the body of an answer, of which so many bytes are still to come.
type part struct {
	io.ReadCloser
	left   int64
	cancel context.CancelFunc // breaks the request off
}

// readAll reads the rest into buf, which has that length, and closes the part.
// An answer that was cut off is ErrUnavailable.
func (p *part) readAll(ctx context.Context, buf []byte) error {
	defer p.Close()
	n, err := io.ReadFull(p.ReadCloser, buf)
	p.left -= int64(n)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: the answer ended %d bytes early: %w", atrest.ErrUnavailable, p.left, io.ErrUnexpectedEOF)
}

// Close reads what little is left, so that the connection can be used again.
func (p *part) Close() error {
	defer p.cancel()
	if p.left <= 4<<10 {
		io.CopyN(io.Discard, p.ReadCloser, p.left+1) // the connection is lost otherwise, no more
	}
	return p.ReadCloser.Close()
}
