package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/atrest/atrest"
)

// A keyError is an error of the key wrapper.
type keyError struct{ err error }

func (e *keyError) Error() string { return e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }

// isFatal reports whether an error that came up with one object says that the
// others will fare no better: the context has ended, or Vault or the storage
// engine is unwell. What Vault says of one key, and what a backend says of one
// object, is no reason to give up the rest.
func isFatal(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return true
	}
	for _, ofEngine := range []error{
		atrest.ErrUnavailable, atrest.ErrStorageMissing, atrest.ErrStorageFull, atrest.ErrSchemaVersion, errSameObjects,
	} {
		if errors.Is(err, ofEngine) {
			return true
		}
	}
	_, ofKeys := errors.AsType[*keyError](err)
	return ofKeys && !isDamage(err) && !errors.Is(err, atrest.ErrKeyVersionTooOld)
}

// A failure is why one object of many was passed over.
type failure struct {
	name string
	err  error
}

// failures reports what was passed over and remembers the first.
type failures struct {
	doing  string // as in "rewrap"
	report func(name string, err error)
	n      int
	first  error
}

func (f *failures) add(failed []failure) {
	for _, x := range failed {
		if f.n++; f.first == nil {
			f.first = opError(f.doing, x.name, x.err)
		}
		if f.report != nil {
			f.report(x.name, x.err)
		}
	}
}

// err returns what to end with when everything has been tried.
func (f *failures) err() error {
	if f.first == nil {
		return nil
	}
	return fmt.Errorf("%d objects have failed, the first: %w", f.n, f.first)
}

func isDamage(err error) bool { return errors.Is(err, atrest.ErrTampered) }

func isGone(err error) bool { return errors.Is(err, atrest.ErrNotFound) }
