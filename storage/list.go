package storage

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/segment"
)

// Stat returns what is known of an object without reading it. The name,
// metadata and time are authenticated. Size, Version and the object's being
// there at all are the backend's word.
//
// Errors are those of [Store.Get].
func (s *Store) Stat(ctx context.Context, name string) (Info, error) {
	info, err := s.stat(ctx, name)
	if err != nil {
		return Info{}, opError("stat", name, err)
	}
	return info, nil
}

func (s *Store) stat(ctx context.Context, name string) (Info, error) {
	obj, err := s.blobs.Get(ctx, name, backend.Range{}, "")
	if err != nil {
		return Info{}, err
	}
	defer obj.Body.Close()
	ob, err := s.authenticate(ctx, name, obj)
	if err != nil {
		return Info{}, err
	}
	return ob.info, nil
}

// ListOptions restrict a listing. A nil *ListOptions is the zero one.
type ListOptions struct {
	// Prefix selects the names that begin with it.
	Prefix string
	// After selects the names that come after it in the order of listings, so
	// that an interrupted listing goes on after the last name that it yielded.
	After string
}

// An Entry is one object of a listing. Nothing in it is authenticated, since
// that would take a call to Vault for each: see [Store.Stat].
type Entry struct {
	Name       string
	Size       int64 // of the plaintext, in bytes
	Version    Version
	Modified   time.Time
	KeyVersion uint32 // of the transit key that wraps the data key
}

// List yields the objects of the store in the bytewise order of their escaped
// names (see [backend.Escape]; for ordinary names, of their names). An object
// that is put or deleted meanwhile may or may not appear; all others appear
// exactly once. The loop may call any method of the Store.
//
// An object whose header is damaged, or can't be fetched, is yielded with its
// name and an error, ErrTampered where it is damaged, and the listing goes on.
// Any other error ends it; its Entry is empty.
func (s *Store) List(ctx context.Context, opts *ListOptions) iter.Seq2[Entry, error] {
	if opts == nil {
		opts = new(ListOptions)
	}
	return func(yield func(Entry, error) bool) {
		for raw, err := range s.blobs.List(ctx, opts.Prefix, opts.After) {
			if err != nil {
				yield(Entry{}, fmt.Errorf("storage: list: %w", err))
				return
			}
			entry, gone, err := s.entry(ctx, raw)
			if gone {
				continue
			}
			if err != nil {
				err = opError("list", raw.Name, err)
			}
			if err != nil && ctx.Err() != nil {
				yield(Entry{}, err)
				return
			}
			if !yield(entry, err) {
				return
			}
		}
	}
}

// entry makes an Entry of a backend's, fetching the header where the backend's
// listing does not have it.
func (s *Store) entry(ctx context.Context, raw backend.Entry) (e Entry, gone bool, err error) {
	e.Name = raw.Name
	if gone, err = s.complete(ctx, &raw); gone || err != nil {
		return e, gone, err
	}
	e.Version = raw.Version
	h, err := parseHeader(raw.Header)
	if err != nil {
		return e, false, err
	}
	e.Modified = h.immutable.modified()
	e.KeyVersion = h.wrapped.version
	e.Size, err = segment.PlainSize(raw.Size, h.immutable.segmentSize)
	return e, false, err
}

// complete fetches the header and the attributes of a listed object if they are
// not there, and reports whether the object has been deleted meanwhile.
func (s *Store) complete(ctx context.Context, raw *backend.Entry) (gone bool, err error) {
	if raw.Header != nil {
		return false, nil
	}
	obj, err := s.blobs.Get(ctx, raw.Name, backend.Range{}, "")
	if isGone(err) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	raw.Header, raw.Attrs = obj.Header, obj.Attrs
	return false, obj.Body.Close()
}
