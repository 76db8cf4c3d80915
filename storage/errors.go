package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// A keyError is an error of the key wrapper.
type keyError struct{ err error }

func (e *keyError) Error() string { return e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }

// isFatal reports whether an error that came up with one object says that the
// others will fare no better: the context has ended, or Vault or the storage
// engine is unwell or refuses. What Vault says of one key, and what a backend says
// of one object, is no reason to give up the rest. ErrPermission may be about one
// object, where an engine has rights for each, but mostly credentials have expired or
// rights have been revoked, and then all the rest would be failures.
func isFatal(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return true
	}
	for _, ofEngine := range []error{
		atrest.ErrUnavailable, atrest.ErrStorageMissing, atrest.ErrStorageFull, atrest.ErrSchemaVersion,
		atrest.ErrPermission, atrest.ErrPlaintextConnection, errSameObjects,
	} {
		if errors.Is(err, ofEngine) {
			return true
		}
	}
	_, ofKeys := errors.AsType[*keyError](err)
	return ofKeys && !isDamage(err) && !errors.Is(err, atrest.ErrKeyVersionTooOld)
}

// isExplained reports whether an error says that it is about one object.
func isExplained(err error) bool {
	for _, ofObject := range []error{
		atrest.ErrNotFound, atrest.ErrExists, atrest.ErrConflict, atrest.ErrInvalidName, atrest.ErrTooLarge,
		atrest.ErrTampered, atrest.ErrKeyVersionTooOld,
	} {
		if errors.Is(err, ofObject) {
			return true
		}
	}
	return false
}

// maxUnexplained is how many objects in a row may fail without an explanation
// before the rest is given up. It is more than are under way at a time, by default.
const maxUnexplained = 100

// A streak is how many objects in a row have failed without an explanation.
type streak int

// follow counts what became of the next object.
func (s *streak) follow(err error) {
	if err == nil || isExplained(err) {
		*s = 0
	} else {
		*s++
	}
}

// err returns what to end with if the streak is too long.
func (s streak) err(doing string, last error) error {
	if s < maxUnexplained {
		return nil
	}
	return fmt.Errorf("storage: %s: given up, as %d objects in a row have failed and it is not known to be about them, the last: %w", doing, s, last)
}

// A failure is why one object of many was passed over.
type failure struct {
	name string
	err  error
}

// failures reports what was passed over, remembers the first, and knows how far
// one has come.
type failures struct {
	doing  string // as in "rewrap"
	report func(name string, err error)
	n      int
	first  error

	// last is the name up to which all is done or has failed for a reason of its
	// own. What fails without an explanation may succeed when it is tried again, and
	// may be the first of all. So last is held before it until calm tells that the
	// others fare better. Objects that were under way at the same time tell nothing.
	last   string
	held   bool
	calm   int // objects without such a failure since the last one
	window int // how many are under way at a time
	streak streak
}

// add files failures.
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

// follow goes on to the last of names, the objects that come next in the order of
// listings, of which some have failed. It returns what to end with if too many
// have failed in a row.
func (f *failures) follow(names []string, failed []failure) error {
	errs := make(map[string]error, len(failed))
	for _, x := range failed {
		errs[x.name] = x.err
	}
	for _, name := range names {
		f.streak.follow(errs[name])
		if f.streak > 0 {
			f.held, f.calm = true, 0
		} else if f.calm++; f.calm >= max(f.window, maxUnexplained) {
			f.held = false
		}
		if !f.held {
			f.last = name
		}
		if err := f.streak.err(f.doing, errs[name]); err != nil {
			return f.with(err)
		}
	}
	return nil
}

// with adds to what ends it early that there were failures before.
func (f *failures) with(err error) error {
	if err == nil || f.n == 0 {
		return err
	}
	return fmt.Errorf("%w (%d objects in all have failed and were told to Failed; another run after Last does not try again those before it)", err, f.n)
}

// err returns what to end with when everything has been tried.
func (f *failures) err() error {
	if f.first == nil {
		return nil
	}
	return fmt.Errorf("%d objects have failed and were told to Failed (another run after Last does not try again those before it), the first: %w", f.n, f.first)
}

// namesOf returns the names of entries.
func namesOf(entries []backend.Entry) []string {
	names := make([]string, len(entries))
	for i := range entries {
		names[i] = entries[i].Name
	}
	return names
}

func isDamage(err error) bool { return errors.Is(err, atrest.ErrTampered) }

func isGone(err error) bool { return errors.Is(err, atrest.ErrNotFound) }
