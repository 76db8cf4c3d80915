package disk

import (
	"context"
	"fmt"
	"io"

	"github.com/atrest/atrest/backend"
)

// Put stores an object as [backend.Blobs] says. Everything up to the rename of
// the header file leaves the old object as it is; the rename replaces it whole.
func (s *Store) Put(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (v backend.Version, err error) {
	escaped, err := backend.Escape(name)
	if err == nil {
		v, err = s.put(ctx, escaped, header, body, cond)
	}
	annotate(&err, "put", name)
	return v, err
}

func (s *Store) put(ctx context.Context, escaped string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
	w, leave, err := s.newWrite(ctx, escaped, header, cond)
	if err != nil {
		return "", err
	}
	defer leave()
	k := newSink(ctx, w)
	defer k.release()
	err = w.guard(func() error { return k.fill(body) })
	if err == nil {
		err = k.finish()
	}
	if err != nil {
		return "", w.abandon(err)
	}
	return w.commit(ctx, k.inline())
}

// guard calls read, and cleans up should the caller's body panic in it.
func (w *write) guard(read func() error) error {
	returned := false
	defer func() {
		if !returned {
			w.abandon(nil)
		}
	}()
	err := read()
	returned = true
	return err
}

// newWrite checks what can be checked before the body is read, the condition
// included: a body of a gibibyte need not be written to find out that the name
// is taken. The condition is decided under the lock, later.
func (s *Store) newWrite(ctx context.Context, escaped string, header []byte, cond backend.Condition) (*write, func(), error) {
	if err := checkHeader(header); err != nil {
		return nil, nil, err
	}
	if err := checkCondition(cond); err != nil {
		return nil, nil, err
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	if cond != (backend.Condition{}) {
		at, err := s.lookup(escaped)
		if err == nil {
			err = at.meets(cond)
		}
		if err != nil {
			leave()
			return nil, nil, err
		}
	}
	w := &write{Store: s, escaped: escaped, cond: cond}
	w.rec = record{id: newBodyID(), header: header}
	return w, leave, nil
}

// beginBody makes the body file. Its journal entry comes first, so that from
// the moment it is there a sweeper can find it.
//
// A death after this step leaves an entry and a body of any length; the sweep
// finds no header file that names it, and removes both.
func (w *write) beginBody() (*bodyFile, error) {
	if err := w.note(w.rec.id); err != nil {
		return nil, err
	}
	path := w.rec.id.path()
	f, err := w.create(path)
	if isMissing(err) {
		if err := w.makeDirs(w.rec.id.dir()); err != nil {
			return nil, err
		}
		f, err = w.create(path)
	}
	if err != nil {
		return nil, err
	}
	return &bodyFile{files: &w.files, file: f, name: path}, nil
}

// endBody makes the body durable: its bytes, then its name. Only after that may
// a header file name it.
func (w *write) endBody(f *bodyFile) error {
	if err := f.finish(); err != nil {
		return err
	}
	if err := w.syncUp(w.rec.id.dir()); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	return nil
}
