package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// SetHeader replaces a header as [backend.Blobs] says. It writes the header
// file anew, with the inline body that may be part of it, and no body file.
func (s *Store) SetHeader(ctx context.Context, update backend.HeaderUpdate) error {
	escaped, err := backend.Escape(update.Name)
	if err == nil {
		err = s.setHeader(ctx, escaped, update)
	}
	annotate(&err, "set header of", update.Name)
	return err
}

func (s *Store) setHeader(ctx context.Context, escaped string, update backend.HeaderUpdate) error {
	if err := checkHeader(update.New); err != nil {
		return err
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	at, err := s.read(escaped, true)
	if err == nil {
		err = at.matches(update)
	}
	if err != nil {
		return err
	}
	rec := *at.rec
	rec.header = update.New
	// Written and synced without the lock. The body can't be another one by the
	// time of the rename, because the version is compared again.
	temp := s.session.temp(newBodyID())
	if err := s.writeFile(temp, rec.marshal(at.inline)); err != nil {
		return err
	}
	if err := s.swapHeader(ctx, escaped, temp, update); err != nil {
		return errors.Join(err, ignoreMissing(s.remove(temp)))
	}
	// A death before this leaves the old header or the new one.
	return s.syncUp(headerDir(escaped))
}

// matches returns ErrConflict unless the object is what the update starts from.
func (at found) matches(update backend.HeaderUpdate) error {
	switch {
	case at.missing():
		return fmt.Errorf("%w: it is gone", atrest.ErrConflict)
	case at.damage != nil:
		return at.damage
	case at.rec.id.version() != update.Version:
		return atrest.ErrConflict
	case !bytes.Equal(at.rec.header, update.Old):
		return fmt.Errorf("%w: its header is another", atrest.ErrConflict)
	}
	return nil
}

func (s *Store) swapHeader(ctx context.Context, escaped, temp string, update backend.HeaderUpdate) error {
	unlock, err := s.lock(ctx, escaped)
	if err != nil {
		return err
	}
	defer unlock()
	at, err := s.lookup(escaped)
	if err == nil {
		err = at.matches(update)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	return s.rename(temp, headerPath(escaped))
}

// Delete removes an object as [backend.Blobs] says: its header file, whose
// removal is the moment it is gone, then its body, then the directories that
// are empty now. A damaged header file is removed too; the body that it may
// have had can't be found and remains.
func (s *Store) Delete(ctx context.Context, name string, cond backend.Condition) error {
	escaped, err := backend.Escape(name)
	if err == nil {
		err = s.delete(ctx, escaped, cond)
	}
	annotate(&err, "delete", name)
	return err
}

func (s *Store) delete(ctx context.Context, escaped string, cond backend.Condition) error {
	if cond.IfAbsent {
		return fmt.Errorf("%w: Delete with IfAbsent", atrest.ErrUnsupported)
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	at, err := s.unlink(ctx, escaped, cond)
	if err != nil {
		return err
	}
	// Also where the name was not there: perhaps this is the repetition of a
	// Delete that got no further than here. A death before this leaves the
	// object, whole, or the object gone and a journal entry for the rest. After
	// an error the body stays, for the header file could come back.
	dir := headerDir(escaped)
	if err := s.syncNearest(dir); err != nil || at.rec == nil {
		return err
	}
	var bodyErr error
	if !at.rec.inline {
		bodyErr = ignoreMissing(s.remove(at.rec.id.path()))
	}
	s.settled(at.rec.id, bodyErr, s.prune(dir))
	return nil
}

// unlink removes the header file if cond allows, under the name's lock, and
// returns what was there.
func (s *Store) unlink(ctx context.Context, escaped string, cond backend.Condition) (found, error) {
	unlock, err := s.lock(ctx, escaped)
	if err != nil {
		return found{}, err
	}
	defer unlock()
	at, err := s.lookup(escaped)
	if err != nil || at.missing() {
		return at, err
	}
	if err := errors.Join(at.meets(cond), ctx.Err()); err != nil {
		return at, err
	}
	if at.rec != nil {
		if err := s.journal(at.rec.id, escaped); err != nil {
			return at, errors.Join(err, s.forget(at.rec.id))
		}
	}
	if err := s.remove(headerPath(escaped)); err != nil {
		if now, lookErr := s.lookup(escaped); at.rec != nil && lookErr == nil && !now.missing() {
			err = errors.Join(err, s.forget(at.rec.id)) // it has not happened
		}
		return at, err
	}
	return at, nil
}
