package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// Get reads an object as [backend.Blobs] says. It takes no lock. A header file
// that is damaged, or whose body file is missing or too long, is ErrTampered;
// of a body file that is too short, what is there can be read, and then comes
// an error that is io.ErrUnexpectedEOF and ErrTampered.
func (s *Store) Get(ctx context.Context, name string, rng backend.Range, version backend.Version) (o *backend.Object, err error) {
	escaped, err := backend.Escape(name)
	if err == nil {
		o, err = s.get(ctx, escaped, rng, version)
	}
	annotate(&err, "get", name)
	return o, err
}

func (s *Store) get(ctx context.Context, escaped string, rng backend.Range, version backend.Version) (*backend.Object, error) {
	at, src, err := s.open(ctx, escaped, version, rng)
	if err != nil {
		return nil, err
	}
	offset, n := rng.Clamp(at.rec.size)
	return &backend.Object{
		Attrs:  at.rec.attrs(),
		Header: at.rec.header,
		Body:   &reader{ctx: ctx, src: src, offset: offset, end: offset + n},
	}, nil
}

// A source is where a body's bytes come from.
type source interface {
	io.ReaderAt
	io.Closer
}

// memory is an inline body.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

// open returns the record of a name and, if rng selects any of it, the body
// that belongs to it. If the body file is gone because the object was replaced after its header
// file was read, it begins again. Each time round somebody else has made
// progress; an object that is still the same has lost its body.
func (s *Store) open(ctx context.Context, escaped string, version backend.Version, rng backend.Range) (found, source, error) {
	var gone bodyID
	for {
		at, err := s.current(ctx, escaped, version, rng.Length != 0)
		if err != nil {
			return at, nil, err
		}
		if _, n := rng.Clamp(at.rec.size); n == 0 || at.rec.inline {
			return at, memory{bytes.NewReader(at.inline)}, nil
		}
		file, err := s.openBody(at.rec)
		if err == nil {
			return at, file, nil
		}
		if !isMissing(err) || at.rec.id == gone {
			return at, nil, err
		}
		gone = at.rec.id
	}
}

// current reads the header file of an object that has to be there, and of this
// version if one is given.
func (s *Store) current(ctx context.Context, escaped string, version backend.Version, withBody bool) (found, error) {
	if err := ctx.Err(); err != nil {
		return found{}, err
	}
	at, err := s.read(escaped, withBody)
	switch {
	case err != nil:
		return at, err
	case at.missing():
		return at, atrest.ErrNotFound
	}
	return at, at.isVersion(version)
}

// isVersion returns an error unless the record is good and of that version.
func (at found) isVersion(version backend.Version) error {
	switch {
	case at.damage != nil:
		return at.damage
	case version != "" && at.rec.id.version() != version:
		return atrest.ErrConflict
	}
	return nil
}

// openBody opens the body file of a record.
func (s *Store) openBody(rec *record) (*os.File, error) {
	name := rec.id.path()
	file, info, err := s.openRegular(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotRegular) {
		return nil, damaged(err)
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > rec.size {
		file.Close()
		return nil, damaged(fmt.Errorf("%s: body file is too long", name))
	}
	return file, nil
}

// A reader is the Body of an Object.
type reader struct {
	ctx         context.Context
	src         source
	offset, end int64
	closed      atomic.Bool
}

func (r *reader) Read(p []byte) (int, error) {
	if r.closed.Load() {
		return 0, fs.ErrClosed
	}
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.offset == r.end {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	p = p[:min(int64(len(p)), chunkSize, r.end-r.offset)]
	n, err := r.src.ReadAt(p, r.offset)
	r.offset += int64(n)
	switch {
	case n > 0:
		return n, nil // an error comes again with the next call
	case err == io.EOF:
		return 0, fmt.Errorf("disk: body ends early: %w", damaged(io.ErrUnexpectedEOF))
	}
	return 0, describe("disk: read", "body", err)
}

// Close may be called while Read is in progress, and again.
func (r *reader) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	return r.src.Close()
}
