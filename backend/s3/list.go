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

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// firstPage is the length of the first page of a listing, for those who want no
// more than a few. The others have the 1,000 keys that S3 gives at most.
const firstPage = 16

// List yields objects as [backend.Blobs] says, with a request for the first 16
// keys and one for each 1,000 after that. S3 lists no metadata, so entries have neither header nor version. Keys
// under the prefix that are not of this package's making are passed over.
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
	in     *awss3.ListObjectsV2Input
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
	l := &listing{Store: s, prefix: escapedPrefix, after: escapedAfter}
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
	if err != nil {
		return nil, false, describe(ctx, err)
	}
	more = aws.ToBool(out.IsTruncated)
	if more && aws.ToString(out.NextContinuationToken) == "" {
		return nil, false, errors.New("the server's listing goes on, but it does not say where")
	}
	l.in.ContinuationToken = out.NextContinuationToken
	return out.Contents, more, nil
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
	return backend.Entry{Name: name, Attrs: backend.Attrs{Size: aws.ToInt64(o.Size)}}, true, nil
}
