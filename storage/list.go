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
	// NamesOnly leaves all fields of an Entry but Name zero. No header is looked
	// at, so nothing is fetched but the listing itself, and damaged objects are
	// listed like others.
	NamesOnly bool
}

const (
	// listChunk is how many entries of a listing are handled together: enough
	// that handing them from one goroutine to another costs nothing to speak of.
	listChunk = 64

	// listChunks is how many chunks are read ahead of the loop. Times
	// listFetchers, it is how many headers are fetched at a time where the
	// backend's listing has none.
	listChunks   = 2
	listFetchers = 8
)

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
// Where the backend's listing has no headers (S3), they are fetched, 16 at a
// time and ahead of the loop; with NamesOnly they are not.
//
// An object whose header is damaged, or can't be fetched, is yielded with its
// name and an error, ErrTampered where it is damaged, and the listing goes on.
// An error that is not about one object, such as a storage engine that can't be
// reached or refuses (ErrPermission), ends it; its Entry is empty.
func (s *Store) List(ctx context.Context, opts *ListOptions) iter.Seq2[Entry, error] {
	if opts == nil {
		opts = new(ListOptions)
	}
	if opts.NamesOnly {
		return s.listNames(ctx, opts)
	}
	return s.listEntries(ctx, opts)
}

func (s *Store) listNames(ctx context.Context, opts *ListOptions) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for name, err := range s.names(ctx, opts.Prefix, opts.After) {
			if err != nil {
				yield(Entry{}, fmt.Errorf("storage: list: %w", err))
				return
			}
			if !yield(Entry{Name: name}, nil) {
				return
			}
		}
	}
}

// A listed is an Entry, or why there is none.
type listed struct {
	entry Entry
	gone  bool // since the backend listed it
	err   error
}

func (s *Store) listEntries(ctx context.Context, opts *ListOptions) iter.Seq2[Entry, error] {
	chunks := func(ctx context.Context) iter.Seq2[[]backend.Entry, error] {
		return chunked(s.blobs.List(ctx, opts.Prefix, opts.After), listChunk)
	}
	work := func(ctx context.Context, chunk []backend.Entry) []listed {
		entries := make([]listed, len(chunk))
		s.completeAll(ctx, chunk, listFetchers, func(i int, gone bool, err error) {
			entries[i] = listed{Entry{Name: chunk[i].Name}, gone, err}
			if !gone && err == nil {
				entries[i].entry, entries[i].err = entryOf(chunk[i])
			}
		})
		return entries
	}
	return func(yield func(Entry, error) bool) {
		for entries, err := range ordered(ctx, chunks, listChunks, work) {
			if err != nil {
				yield(Entry{}, fmt.Errorf("storage: list: %w", err))
				return
			}
			for _, l := range entries {
				if !l.gone && !l.yield(ctx, yield) {
					return
				}
			}
		}
	}
}

// yield yields an entry and reports whether the listing is to go on.
func (l *listed) yield(ctx context.Context, yield func(Entry, error) bool) bool {
	if l.err == nil {
		return yield(l.entry, nil)
	}
	err := opError("list", l.entry.Name, l.err)
	if isFatal(ctx, l.err) {
		yield(Entry{}, err)
		return false
	}
	return yield(l.entry, err)
}

// entryOf makes an Entry of a backend's.
func entryOf(raw backend.Entry) (Entry, error) {
	e := Entry{Name: raw.Name, Version: raw.Version}
	h, err := parseHeader(raw.Header)
	if err != nil {
		return e, err
	}
	e.Modified = h.immutable.modified()
	e.KeyVersion = h.wrapped.version
	e.Size, err = segment.PlainSize(raw.Size, h.immutable.segmentSize)
	return e, err
}

// completeAll completes the entries that need it, so many at a time, and calls
// f with the index of every entry, concurrently.
func (s *Store) completeAll(ctx context.Context, chunk []backend.Entry, workers int, f func(i int, gone bool, err error)) {
	var incomplete []int
	for i := range chunk {
		if chunk[i].Header != nil {
			f(i, false, nil)
			continue
		}
		incomplete = append(incomplete, i)
	}
	each(len(incomplete), workers, func(k int) {
		i := incomplete[k]
		gone, err := s.complete(ctx, &chunk[i])
		f(i, gone, err)
	})
}

// complete fetches the header and the attributes of a listed object, and
// reports whether the object has been deleted meanwhile.
func (s *Store) complete(ctx context.Context, raw *backend.Entry) (gone bool, err error) {
	obj, err := s.blobs.Get(ctx, raw.Name, backend.Range{}, "")
	if isGone(err) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	raw.Header, raw.Attrs = obj.Header, obj.Attrs
	return false, obj.Body.Close()
}

// OldestKeyVersion returns the oldest version of the transit key that an object of the
// store needs, 0 if there is no object. It lists the whole store. Nothing of that is
// authenticated: it is the backend's word, as in List. An object of which it can't tell
// is an error.
func (s *Store) OldestKeyVersion(ctx context.Context) (uint32, error) {
	oldest := uint32(0)
	for entry, err := range s.List(ctx, nil) {
		if err != nil {
			return 0, err
		}
		if oldest == 0 || entry.KeyVersion < oldest {
			oldest = entry.KeyVersion
		}
	}
	return oldest, nil
}
