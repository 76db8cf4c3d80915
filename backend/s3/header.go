package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// SetHeader replaces a header as [backend.Blobs] says, by a copy of the object
// onto itself on the server. It needs a server that honours conditions, or
// Config.SoleWriter. Without the latter the version is compared atomically, but
// the header just before.
//
// The ETag may change, and so does the server's own time of the last change.
func (s *Store) SetHeader(ctx context.Context, update backend.HeaderUpdate) error {
	key, err := s.key(update.Name)
	if err == nil {
		err = s.setHeader(ctx, key, update)
	}
	annotate(&err, "set header of", update.Name)
	return err
}

func (s *Store) setHeader(ctx context.Context, key string, update backend.HeaderUpdate) error {
	if err := checkHeader(update.New); err != nil {
		return err
	}
	if !s.cfg.SoleWriter {
		if _, err := s.conditions(ctx, false); err != nil {
			return err
		}
	}
	meets := func(at seen) error { return at.matches(update) }
	src, err := s.newSource(ctx, key, update.Version, true)
	if errors.Is(err, atrest.ErrNotFound) {
		err = fmt.Errorf("%w: it is gone", atrest.ErrConflict)
	}
	if err == nil {
		err = meets(src.seen)
	}
	if err != nil || bytes.Equal(update.Old, update.New) {
		return err
	}
	done := func(at seen) bool {
		return at.exists && at.Version == update.Version && bytes.Equal(at.header, update.New)
	}
	c := change{key: key, meets: meets, before: &src.seen, done: done}
	err = s.commitCopy(ctx, c, src, metadata(update.Version, update.New))
	if errors.Is(err, atrest.ErrNotFound) {
		err = fmt.Errorf("%w: it is gone", atrest.ErrConflict)
	}
	return err
}

// matches returns ErrConflict unless the object is what the update starts from.
func (at seen) matches(update backend.HeaderUpdate) error {
	switch {
	case !at.exists:
		return fmt.Errorf("%w: it is gone", atrest.ErrConflict)
	case at.damage != nil:
		return at.damage
	case at.Version != update.Version:
		return atrest.ErrConflict
	case !bytes.Equal(at.header, update.Old):
		return fmt.Errorf("%w: its header is another", atrest.ErrConflict)
	}
	return nil
}
