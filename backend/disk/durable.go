package disk

import (
	"errors"
	"io"
	"io/fs"
	"path"
)

// syncUp makes durable what was done in dir before the call, and dir itself,
// by syncing every directory up to the top. That a directory is there does not
// tell that its name is durable: some other process may have made it a moment
// ago. To remember which ones are known to be would need to be told of each
// directory that any process removes, without a race; to sync one in which
// nothing has changed costs less than half of what a changed one does.
func (s *Store) syncUp(dir string) error {
	for d := dir; ; d = path.Dir(d) {
		top := d == objectsDir || d == bodiesDir
		// If it is gone, the object was deleted since, and its directory with it.
		// What is to be made durable now is that, in the directory above.
		if err := s.syncDir(d); err != nil && (top || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
		if top {
			return nil
		}
	}
}

// syncNearest makes durable that something is gone from dir, or that dir is
// gone: then the nearest directory above that is there tells so.
func (s *Store) syncNearest(dir string) error {
	for {
		err := s.syncDir(dir)
		if !errors.Is(err, fs.ErrNotExist) || dir == objectsDir {
			return err
		}
		dir = path.Dir(dir)
	}
}

// makeDirs makes dir and what is missing above it. They become durable with
// the change for which they are made, by syncUp. A death before leaves empty
// directories, which the sweep of the change's journal entry removes.
func (s *Store) makeDirs(dir string) error {
	err := s.mkdir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.makeDirs(path.Dir(dir)); err != nil {
			return err
		}
		err = s.mkdir(dir)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // if not a directory, what follows says so
	}
	return err
}

// prune removes dir and the directories above it that are empty, objects/
// excepted. It may meet a put that has just made the directory: rmdir removes
// no directory with a file in it, and a put that finds its directory gone makes
// it again. Nothing needs to be durable here; an empty directory that comes
// back is no object.
func (s *Store) prune(dir string) error {
	for ; dir != objectsDir; dir = path.Dir(dir) {
		empty, err := s.isEmpty(dir)
		if err == nil && !empty {
			return nil
		}
		if err == nil {
			err = s.remove(dir)
		}
		if errors.Is(err, fs.ErrExist) { // that is ENOTEMPTY: it has a file now
			return nil
		}
		if err := ignoreMissing(err); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) isEmpty(dir string) (bool, error) {
	f, err := s.root.Open(dir)
	if err != nil {
		return false, describe("open", dir, err)
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if err == io.EOF {
		return true, nil
	}
	return false, describe("read", dir, err)
}
