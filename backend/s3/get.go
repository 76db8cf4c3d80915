package s3

import (
	"context"
	"errors"
	"sync"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

const (
	// maxChunk is how many bytes one request asks for, or Config.PartSize if that
	// is less. A body of that size is one request; of a longer one, Config.Concurrency
	// requests are under way at the same time. None is read by the caller directly:
	// MinIO locks an object against change as long as its body is on its way, and
	// so would wait for a slow caller.
	maxChunk = 8 << 20

	// smallBody is received before Get returns, without another goroutine.
	smallBody = 256 << 10
)

func (s *Store) chunkSize() int64 { return min(s.cfg.PartSize, maxChunk) }

// chunkPool has buffers of chunkSize.
func (s *Store) chunkPool() *sync.Pool {
	if s.chunkSize() == s.cfg.PartSize {
		return &s.parts
	}
	return &s.chunks
}

// Get reads an object as [backend.Blobs] says. A body longer than 8 MiB is
// fetched in ranges; if the object is replaced or deleted before all of them are
// fetched, reading it fails with ErrConflict or ErrNotFound. A range whose
// transfer breaks off is fetched again, up to three times.
func (s *Store) Get(ctx context.Context, name string, rng backend.Range, version backend.Version) (o *backend.Object, err error) {
	key, err := s.key(name)
	if err == nil {
		o, err = s.get(ctx, key, rng, version)
	}
	annotate(&err, "get", name)
	return o, err
}

func (s *Store) get(ctx context.Context, key string, rng backend.Range, version backend.Version) (*backend.Object, error) {
	if rng.Length == 0 {
		at, err := s.look(ctx, key)
		return newObject(at, version, err)
	}
	n := s.chunkSize()
	if rng.Length > 0 {
		n = min(n, rng.Length)
	}
	for range commitTries {
		at, first, err := s.fetch(ctx, key, rng.Offset, n)
		if err == nil {
			return s.open(ctx, key, rng, version, at, first)
		}
		if !errors.Is(err, errInvalidRange) {
			return nil, err
		}
		at, err = s.look(ctx, key)
		if err == nil && at.exists && at.Size > rng.Offset {
			continue // it has been replaced by a longer one
		}
		return newObject(at, version, err)
	}
	return nil, errRestless
}

// newObject returns what was seen as an object without a body.
func newObject(at seen, version backend.Version, err error) (*backend.Object, error) {
	if err == nil {
		err = at.isVersion(version)
	}
	if err != nil {
		return nil, err
	}
	return &backend.Object{Attrs: at.Attrs, Header: at.header, Body: &reader{}}, nil
}

// isVersion returns an error unless the object is there, undamaged, and of that
// version, if it is not empty.
func (at seen) isVersion(version backend.Version) error {
	switch {
	case !at.exists:
		return atrest.ErrNotFound
	case at.damage != nil:
		return at.damage
	case version != "" && at.Version != version:
		return atrest.ErrConflict
	}
	return nil
}

// open returns the object whose first chunk is on its way.
func (s *Store) open(ctx context.Context, key string, rng backend.Range, version backend.Version, at seen, first *part) (*backend.Object, error) {
	o, err := newObject(at, version, nil)
	if err != nil {
		first.Close()
		return nil, err
	}
	if first.left > smallBody {
		offset, n := rng.Clamp(at.Size)
		o.Body = s.newReader(ctx, key, at, first, offset, n)
		return o, nil
	}
	left := first.left
	buf := make([]byte, left)
	if err := first.readAll(ctx, buf); err != nil {
		// Once more, as a chunk that may be tried again.
		err = s.refetch(ctx, key, at, rng.Offset, buf, err)
		if err != nil {
			return nil, err
		}
	}
	o.Body = &reader{ctx: ctx, ready: buf}
	return o, nil
}

// refetch reads a range again after why, and a third time if need be.
func (s *Store) refetch(ctx context.Context, key string, at seen, offset int64, buf []byte, why error) error {
	for tries := 1; tries < 4 && errors.Is(why, atrest.ErrUnavailable); tries++ {
		if err := pause(ctx, tries); err != nil {
			return err
		}
		why = s.fetchInto(ctx, key, at, offset, buf)
	}
	return why
}

// fetchInto fills buf from offset of the object that was seen, and no other.
func (s *Store) fetchInto(ctx context.Context, key string, at seen, offset int64, buf []byte) error {
	now, body, err := s.fetch(ctx, key, offset, int64(len(buf)))
	if errors.Is(err, errInvalidRange) {
		return atrest.ErrConflict // it has become shorter
	}
	if err != nil {
		return err
	}
	if err := now.isVersion(at.Version); err != nil {
		body.Close()
		return err
	}
	if body.left != int64(len(buf)) {
		body.Close()
		return damaged("its size is another than before")
	}
	return body.readAll(ctx, buf)
}

var errClosed = errors.New("s3: body is closed")
