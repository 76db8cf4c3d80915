package disk

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"slices"

	"github.com/atrest/atrest/backend"
)

// A write is a new object on its way into the store, by Put or Copy.
type write struct {
	*Store
	escaped string
	cond    backend.Condition
	rec     record
	noted   []bodyID // entries made in the journal
	newDirs bool     // directories were made for the header file
}

func newBodyID() (id bodyID) {
	rand.Read(id[:]) // never fails
	return id
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// note is journal, remembered for the end.
func (w *write) note(id bodyID) error {
	if slices.Contains(w.noted, id) {
		return nil
	}
	// Remembered even after an error, after which the entry may be there.
	w.noted = append(w.noted, id)
	return w.journal(id, w.escaped)
}

// commit makes the header file, puts it in place if the condition allows, and
// makes that durable. Dying at each step leaves:
//
//   - before the rename: the old object, and this session's leftovers, which
//     the next sweep removes;
//   - after it: the new object, whole (its body and header file were durable
//     before), and the old body with its journal entry, by which the next sweep
//     removes it. If the machine dies too, either header file may be the one
//     that is there, and both bodies still are.
func (w *write) commit(ctx context.Context, inline []byte) (backend.Version, error) {
	temp := w.session.temp(w.rec.id)
	if err := w.writeFile(temp, w.rec.marshal(inline)); err != nil {
		return "", w.abandon(err)
	}
	old, done, err := w.replace(ctx, temp)
	if err != nil && !done {
		return "", w.abandon(errors.Join(err, ignoreMissing(w.remove(temp))))
	}
	if err != nil {
		return "", err
	}
	// From here on the new object is seen by everyone. If its name can't be made
	// durable the outcome is unknown: after a death of the machine either object
	// may be there. Both bodies stay for that, until this session is swept.
	if err := w.syncUp(headerDir(w.escaped)); err != nil {
		return "", err
	}
	if old != nil && !old.inline {
		w.dropBody(old.id)
	}
	for _, id := range w.noted {
		if id == w.rec.id { // which has its object now
			w.settled(id)
		}
	}
	return w.rec.id.version(), nil
}

// replace checks the condition and renames the header file into its place, both
// under the name's lock. It returns the record that it has replaced, and, with
// an error, whether the change has or may have happened nevertheless.
func (w *write) replace(ctx context.Context, temp string) (old *record, done bool, err error) {
	unlock, err := w.lock(ctx, w.escaped)
	if err != nil {
		return nil, false, err
	}
	defer unlock()
	at, err := w.lookup(w.escaped)
	if err == nil {
		err = at.meets(w.cond)
	}
	if err == nil {
		err = ctx.Err() // the last moment to heed it
	}
	if err != nil {
		return nil, false, err
	}
	if at.damage != nil {
		w.log.Warn("disk: a damaged header file is replaced; if it had a body file, that remains", "name", w.escaped)
	}
	if at.rec != nil && !at.rec.inline {
		if err := w.note(at.rec.id); err != nil {
			return nil, false, err
		}
	}
	if err := w.install(temp); err != nil {
		return nil, w.mayHaveHappened(), err
	}
	return at.rec, false, nil
}

// install renames the header file into its place, and makes the directory for
// it if there is none. A Delete may remove that again while it is empty; so
// often, one in a row for each try, that does not happen.
func (w *write) install(temp string) error {
	err := w.rename(temp, headerPath(w.escaped))
	for range 100 {
		if !isMissing(err) {
			return err
		}
		// Noted so that a sweep finds the directories should we die before the
		// rename.
		if err := w.note(w.rec.id); err != nil {
			return err
		}
		w.newDirs = true
		if err := w.makeDirs(headerDir(w.escaped)); err != nil && !isMissing(err) {
			return err
		}
		err = w.rename(temp, headerPath(w.escaped))
	}
	return err
}

// mayHaveHappened tells, after an error of rename, whether the new header file
// is in place. Not being able to tell is a yes: nothing is removed then.
func (w *write) mayHaveHappened() bool {
	at, err := w.lookup(w.escaped)
	return err != nil || at.rec != nil && at.rec.id == w.rec.id
}

// abandon removes what was made for a write that did not happen, whatever has
// become of ctx, and returns the error that it was given, with those of the
// removal. What can't be removed now the next sweep removes.
func (w *write) abandon(err error) error {
	errs := []error{err}
	for _, id := range w.noted {
		var gone error
		if id == w.rec.id {
			gone = ignoreMissing(w.remove(id.path()))
			if w.newDirs {
				gone = errors.Join(gone, w.prune(headerDir(w.escaped)))
			}
		}
		if gone == nil {
			gone = w.forget(id)
		}
		errs = append(errs, gone)
	}
	return errors.Join(errs...)
}
