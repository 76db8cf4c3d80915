package disk

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/atrest/atrest/backend"
)

// Sweep removes what processes that died in the middle of a change have left
// behind: header files in the making, bodies that no header file names, empty
// directories. It leaves alone what belongs to a process that lives, and looks
// at the directories of sessions only, not at the objects. New does the same;
// a program that runs for long beside others that may die can call it now and
// then.
func (s *Store) Sweep(ctx context.Context) error {
	leave, err := s.enter(ctx)
	if err == nil {
		defer leave()
		err = s.sweep(ctx)
	}
	annotate(&err, "sweep", workDir)
	return err
}

func (s *Store) sweep(ctx context.Context) error {
	names, err := s.readNames(workDir)
	if err != nil {
		return err
	}
	for i, name := range names {
		names[i] = strings.TrimSuffix(name, lockSuffix)
	}
	slices.Sort(names)
	var errs []error
	for _, id := range slices.Compact(names) {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if id != s.session.id {
			errs = append(errs, s.sweepSession(ctx, id))
		}
	}
	return errors.Join(errs...)
}

// sweepSession settles all that a session has left, if its process is dead. It
// holds the session's lock meanwhile, so two sweepers never work on one
// session. A death here leaves the rest to the next sweep.
func (s *Store) sweepSession(ctx context.Context, id string) error {
	name := lockName(id)
	// The lock file is made if it is missing, which it is if the machine died
	// before the file was durable but after the directory was.
	lock, err := s.openLock(name)
	if err != nil {
		return err
	}
	defer lock.Close()
	dead, err := s.holdLock(lock, name)
	if err != nil || !dead {
		return err
	}
	dir := workDir + "/" + id
	if err := ignoreMissing(s.sweepDir(ctx, dir)); err != nil {
		return err
	}
	if err := ignoreMissing(s.remove(dir)); err != nil {
		return err
	}
	// Last, and under the lock: who opened the file before and locks it after
	// finds it gone, and does not take the session for his.
	return s.remove(name)
}

func (s *Store) sweepDir(ctx context.Context, dir string) error {
	names, err := s.readNames(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, s.sweepFile(ctx, dir+"/"+name))
	}
	return errors.Join(errs...)
}

// sweepFile settles one file of a dead session.
func (s *Store) sweepFile(ctx context.Context, name string) error {
	base := path.Base(name)
	if strings.HasPrefix(base, tempPrefix) {
		// A header file that was never renamed: nobody can have seen it.
		return ignoreMissing(s.remove(name))
	}
	digits, isEntry := strings.CutPrefix(base, journalPrefix)
	id, isID := parseBodyID(digits)
	if !isEntry || !isID {
		return left(name, "not a name of ours")
	}
	target, err := s.root.Readlink(name)
	if err != nil {
		return describe("readlink", name, err)
	}
	escaped, isLeaf := strings.CutSuffix(target, leafSuffix)
	if _, err := backend.Unescape(escaped); err != nil || !isLeaf {
		return left(name, "does not name an object")
	}
	if err := s.settle(ctx, id, escaped); err != nil {
		return err
	}
	return s.remove(name)
}

// settle removes body id unless it is the body of the object escaped. The
// name's lock keeps living processes from changing that in between.
func (s *Store) settle(ctx context.Context, id bodyID, escaped string) error {
	unlock, err := s.lock(ctx, escaped)
	if err != nil {
		return err
	}
	defer unlock()
	at, err := s.lookup(escaped)
	if err != nil {
		return err
	}
	if at.damage != nil {
		return left(id.path(), "the header file that tells whether it is needed is damaged")
	}
	if at.rec != nil && !at.rec.inline && at.rec.id == id {
		return nil
	}
	// The header file that we see may not be durable yet. Were the machine to
	// die now, the one before it could be back, and want its body.
	dir := headerDir(escaped)
	if err := s.syncNearest(dir); err != nil {
		return err
	}
	if err := ignoreMissing(s.remove(id.path())); err != nil {
		return err
	}
	if at.missing() {
		return s.prune(dir)
	}
	return nil
}

// readNames returns the names in a directory that holds few.
func (s *Store) readNames(dir string) ([]string, error) {
	f, err := s.root.Open(dir)
	if err != nil {
		return nil, describe("open", dir, err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if errors.Is(err, fs.ErrNotExist) { // removed since it was opened
		return nil, nil
	}
	return names, describe("read", dir, err)
}
