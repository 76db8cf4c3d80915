package storage

import (
	"context"
	"errors"

	"github.com/atrest/atrest"
)

// A keyError is an error of the key wrapper.
type keyError struct{ err error }

func (e *keyError) Error() string { return e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }

// isFatal reports whether an error that came up with one object says that the
// others will fare no better: the context has ended, or Vault is unwell. What
// Vault says of one key, and what a backend says of one object, is no reason to
// pass over the rest.
func isFatal(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return true
	}
	_, ofKeys := errors.AsType[*keyError](err)
	return ofKeys && !isDamage(err) && !errors.Is(err, atrest.ErrKeyVersionTooOld)
}

func isDamage(err error) bool { return errors.Is(err, atrest.ErrTampered) }

func isGone(err error) bool { return errors.Is(err, atrest.ErrNotFound) }
