package storage_test

import (
	"cmp"
	"context"
	"io"
	"iter"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// scripted is a backend with a script: what its fields say happens in the midst
// of its calls.
type scripted struct {
	backend.Blobs
	look   func(name string) error             // before a Get of no body
	list   func(n int) error                   // before the n-th entry of a listing
	body   func(name string, read int64) error // before each Read of a whole body
	put    func(name string) error             // before a Put
	answer func(name string, v backend.Version, err error) (backend.Version, error)
	header func(name string) error // before a SetHeader
	refuse func(cond backend.Condition) error
}

func (s *scripted) Get(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error) {
	if s.look != nil && rng == (backend.Range{}) {
		if err := s.look(name); err != nil {
			return nil, err
		}
	}
	obj, err := s.Blobs.Get(ctx, name, rng, v)
	if err == nil && s.body != nil && rng == backend.All {
		obj.Body = &scriptedBody{ReadCloser: obj.Body, name: name, script: s.body}
	}
	return obj, err
}

func (s *scripted) List(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
	return func(yield func(backend.Entry, error) bool) {
		n := 0
		for e, err := range s.Blobs.List(ctx, prefix, after) {
			if n++; err == nil && s.list != nil {
				err = s.list(n)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func (s *scripted) Put(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (v backend.Version, err error) {
	if s.put != nil {
		err = s.put(name)
	}
	if s.refuse != nil {
		err = cmp.Or(err, s.refuse(cond))
	}
	if err != nil {
		return "", err
	}
	v, err = s.Blobs.Put(ctx, name, header, body, cond)
	if s.answer != nil {
		return s.answer(name, v, err)
	}
	return v, err
}

func (s *scripted) Delete(ctx context.Context, name string, cond backend.Condition) error {
	if s.refuse != nil {
		if err := s.refuse(cond); err != nil {
			return err
		}
	}
	return s.Blobs.Delete(ctx, name, cond)
}

func (s *scripted) SetHeader(ctx context.Context, u backend.HeaderUpdate) error {
	if s.header != nil {
		if err := s.header(u.Name); err != nil {
			return err
		}
	}
	return s.Blobs.SetHeader(ctx, u)
}

// noConditions is the script of an engine that can't keep any.
func noConditions(cond backend.Condition) error {
	if cond != (backend.Condition{}) {
		return atrest.ErrUnsupported
	}
	return nil
}

type scriptedBody struct {
	io.ReadCloser
	name   string
	read   int64
	script func(name string, read int64) error
}

func (b *scriptedBody) Read(p []byte) (int, error) {
	if err := b.script(b.name, b.read); err != nil {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), 32<<10)])
	b.read += int64(n)
	return n, err
}
