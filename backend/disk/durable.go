package disk

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"path"
	"sync"
)

// prunedFile holds eight random bytes, others whenever some process is about
// to remove a directory below objects/.
const prunedFile = locksDir + "/pruned"

// A generation is what prunedFile held at some moment. As long as it is the
// same, every directory that was there then is there still.
type generation [8]byte

// maxKnownDirs bounds the memory for durableDirs. Forgetting one costs an fsync
// of each directory above it at the next change there.
const maxKnownDirs = 4096

// durableDirs remembers directories whose own names are known to be durable, in
// their parents and so on up to the top. That a directory is there does not
// tell: some other process may have made it a moment ago, and not have synced
// its parent yet. Without the memory each put would have to sync all of them.
type durableDirs struct {
	mu    sync.Mutex
	of    generation
	known map[string]struct{}
}

func (d *durableDirs) has(dir string, g generation) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.known[dir]
	return ok && d.of == g
}

func (d *durableDirs) add(g generation, dirs []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil || d.of != g || len(d.known)+len(dirs) > maxKnownDirs {
		d.known = make(map[string]struct{})
		d.of = g
	}
	for _, dir := range dirs {
		d.known[dir] = struct{}{}
	}
}

// syncUp makes durable what was done in dir before the call, and dir itself.
//
// The generation is read after the change and before the memory is asked. If it
// is still that of the memory, no directory was removed since the memory was
// made, so dir is the very directory that was synced upwards then, not a later
// one of the same name.
func (s *Store) syncUp(dir string) error {
	g, err := s.generation()
	if err != nil {
		return err
	}
	var synced []string
	for d := dir; ; d = path.Dir(d) {
		top := d == objectsDir || d == bodiesDir
		err := s.syncDir(d)
		if errors.Is(err, fs.ErrNotExist) && !top {
			// The object was deleted since, and its directory with it. What is to
			// be made durable now is that, in the directory above.
			synced = nil
			continue
		}
		if err != nil {
			return err
		}
		if top || s.dirs.has(d, g) {
			break
		}
		synced = append(synced, d)
	}
	s.dirs.add(g, synced)
	return nil
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

func (s *Store) generation() (g generation, err error) {
	if _, err := s.pruned.ReadAt(g[:], 0); err != nil && err != io.EOF {
		return g, describe("read", prunedFile, err)
	}
	return g, nil
}

// nextGeneration says to all processes that a directory is about to go.
func (s *Store) nextGeneration() error {
	return s.do("write", prunedFile, func() error {
		var g generation
		rand.Read(g[:])
		_, err := s.pruned.WriteAt(g[:], 0)
		return err
	})
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
			err = s.removeDir(dir)
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

func (s *Store) removeDir(dir string) error {
	if err := s.nextGeneration(); err != nil {
		return err
	}
	return s.remove(dir)
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
