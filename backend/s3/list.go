package s3

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// firstPage is the length of the first page of a listing, for those who want no
// more than a few. The others have the 1,000 keys that S3 gives at most.
const firstPage = 16

// List yields objects as [backend.Blobs] says, with a request for the first 16
// keys and one for each 1,000 after that. S3 lists no metadata, so entries have
// neither header nor version. Keys under the prefix that are not of this package's
// making are passed over. A listing out of order, that comes back to where it was, or
// that goes on with 10,000 empty pages, is ErrUnsupported, and one with a negative
// size ErrTampered.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
	return func(yield func(backend.Entry, error) bool) {
		l, err := s.newListing(prefix, after)
		for more := true; err == nil && more; {
			var page []types.Object
			page, more, err = l.next(ctx)
			for i := 0; err == nil && i < len(page); i++ {
				if err = ctx.Err(); err != nil {
					break
				}
				var entry backend.Entry
				var ok bool
				entry, ok, err = l.entry(page[i])
				if ok && !yield(entry, nil) {
					return
				}
			}
			if err == nil {
				err = ctx.Err()
			}
		}
		if err != nil {
			annotate(&err, "list", prefix)
			yield(backend.Entry{}, err)
		}
	}
}

// A listing is a request for the next page.
type listing struct {
	*Store
	prefix string // escaped
	after  string // escaped
	last   string // escaped, of the entry before
	in     *awss3.ListObjectsV2Input
	pages  cursor
	empty  bool // nothing can be in it
}

func (s *Store) newListing(prefix, after string) (*listing, error) {
	escapedPrefix, err := backend.EscapePrefix(prefix)
	if err != nil {
		return nil, err
	}
	escapedAfter, err := backend.EscapePrefix(after)
	if err != nil {
		return nil, err
	}
	l := &listing{Store: s, prefix: escapedPrefix, after: escapedAfter, pages: s.newCursor()}
	l.in = &awss3.ListObjectsV2Input{
		Bucket: &s.cfg.Bucket, Prefix: aws.String(s.cfg.Prefix + escapedPrefix),
		// Keys of others may have bytes that XML has not.
		EncodingType: types.EncodingTypeUrl,
		MaxKeys:      aws.Int32(firstPage),
	}
	switch {
	case strings.HasPrefix(escapedAfter, escapedPrefix) && after != "":
		l.in.StartAfter = aws.String(s.cfg.Prefix + escapedAfter + suffix)
	case escapedAfter > escapedPrefix:
		l.empty = true
	}
	// Else all names with the prefix come after. MinIO refuses a StartAfter that
	// does not begin with the prefix.
	return l, nil
}

// next returns a page of objects and whether there are more.
func (l *listing) next(ctx context.Context) (page []types.Object, more bool, err error) {
	if err := ctx.Err(); err != nil || l.empty {
		return nil, false, err
	}
	out, err := l.client.ListObjectsV2(ctx, l.in, l.guard)
	l.in.MaxKeys = nil
	if err := checkListing(ctx, out, err); err != nil {
		return nil, false, err
	}
	if more = aws.ToBool(out.IsTruncated); more {
		err = l.pages.advance(aws.ToString(out.NextContinuationToken), len(out.Contents))
	}
	l.in.ContinuationToken = out.NextContinuationToken
	return out.Contents, more, err
}

// checkListing returns an error unless the answer is a listing of S3, which always
// says whether it is the last. The client takes any document for one.
func checkListing(ctx context.Context, out *awss3.ListObjectsV2Output, err error) error {
	if err != nil {
		err = describe(ctx, err)
		if _, ok := errors.AsType[*smithy.DeserializationError](err); ok && ctx.Err() == nil && !isConnection(err) {
			err = fmt.Errorf("%w: %w", errNotS3, err)
		}
		return err
	}
	if out.IsTruncated == nil {
		return fmt.Errorf("%w: the answer is no listing", errNotS3)
	}
	return nil
}

// A cursor is where a listing of several pages is. It finds out one that comes
// back to where it was, also by a detour, in the way of Brent (BIT 20, 1980): it
// remembers one mark, and another each time that twice as many pages have passed.
// Marks that are new each time it believes as long as something comes with them.
type cursor struct {
	mark        string
	pages, next int
	empty       int // pages since there was something on one
	maxEmpty    int
}

// maxEmptyPages is a limit of this package. S3 may give pages without an entry where
// it passes over what was deleted, as many as there are thousands of that.
const maxEmptyPages = 10_000

func (s *Store) newCursor() cursor { return cursor{maxEmpty: s.cfg.maxEmptyPages} }

// advance takes the mark of the page after one that has so many entries.
func (c *cursor) advance(mark string, entries int) error {
	c.empty++
	if entries > 0 {
		c.empty = 0
	}
	switch {
	case mark == "":
		return fmt.Errorf("%w: the server's listing goes on, but it does not say where", atrest.ErrUnsupported)
	case mark == c.mark:
		return fmt.Errorf("%w: the server's listing has come back to where it was", atrest.ErrUnsupported)
	case c.empty >= c.maxEmpty:
		return fmt.Errorf("%w: the server's listing goes on, but there was nothing on the last %d pages", atrest.ErrUnsupported, c.empty)
	}
	if c.pages++; c.pages > c.next {
		c.mark, c.next = mark, 2*c.pages
	}
	return nil
}

// entry returns the object of a key, or false if it is none.
func (l *listing) entry(o types.Object) (e backend.Entry, ok bool, err error) {
	key, err := url.QueryUnescape(aws.ToString(o.Key))
	if err != nil {
		return e, false, fmt.Errorf("%w: the server lists the key %.100q, which is not URL-encoded", atrest.ErrUnsupported, aws.ToString(o.Key))
	}
	name, escaped, ok := l.parseKey(key)
	if !ok || !strings.HasPrefix(escaped, l.prefix) || escaped <= l.after {
		return e, false, nil
	}
	if escaped <= l.last {
		return e, false, fmt.Errorf("%w: the server does not list keys in their order: %.100q after %.100q", atrest.ErrUnsupported, escaped, l.last)
	}
	l.last = escaped
	if o.Size == nil || *o.Size < 0 {
		return e, false, fmt.Errorf("%.100q: %w", name, damaged("the server lists no size, or a negative one"))
	}
	return backend.Entry{Name: name, Attrs: backend.Attrs{Size: *o.Size}}, true, nil
}
