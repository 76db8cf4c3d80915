package disk

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// A session is one Store's working directory. Header files are made in it, and
// its journal names the bodies that are, or may become, without an object. The
// lock file beside it is held with flock as long as the process lives: so one
// lock, taken once, tells a sweeper whether everything in the directory belongs
// to the living or the dead.
type session struct {
	id   string
	lock *os.File
}

func (ss *session) dir() string            { return workDir + "/" + ss.id }
func lockName(id string) string            { return workDir + "/" + id + lockSuffix }
func (ss *session) temp(id bodyID) string  { return ss.dir() + "/" + tempPrefix + id.String() }
func (ss *session) entry(id bodyID) string { return ss.dir() + "/" + journalPrefix + id.String() }

const (
	lockSuffix    = ".lock"
	tempPrefix    = "h-"
	journalPrefix = "j-"
)

// newSession makes the lock file and then the directory. A death in between
// leaves a lock file that nobody holds, which the next sweep removes.
func (s *Store) newSession() (*session, error) {
	for {
		ss := &session{id: rand.Text()}
		lock, err := s.create(lockName(ss.id))
		if err != nil {
			return nil, err
		}
		ss.lock = lock
		mine, err := s.holdLock(lock, lockName(ss.id))
		if err == nil && mine {
			err = s.mkdir(ss.dir())
		}
		if err != nil {
			lock.Close()
			return nil, errors.Join(err, s.remove(lockName(ss.id)))
		}
		if mine {
			return ss, nil
		}
		// A sweeper came between create and flock, took the file for a dead
		// session's, and has removed it or is about to.
		lock.Close()
	}
}

// holdLock takes the lock on an open lock file if nobody holds it, and makes
// sure that the file is still the one at that name: its last owner may have
// removed it after it was opened and before it was locked.
func (s *Store) holdLock(lock *os.File, name string) (bool, error) {
	err := flock(lock, false)
	if errors.Is(err, errLocked) {
		return false, nil
	}
	if err != nil {
		return false, describe("flock", name, err)
	}
	held, err := lock.Stat()
	if err != nil {
		return false, describe("stat", name, err)
	}
	there, err := s.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, describe("stat", name, err)
	}
	return os.SameFile(held, there), nil
}

// endSession removes the session's directory and lock. If something is left in
// the directory both stay: without its lock held, the session is dead to the
// next sweep, which knows how to settle what is left.
func (s *Store) endSession() {
	if err := s.remove(s.session.dir()); err == nil {
		if err := s.remove(lockName(s.session.id)); err != nil {
			s.log.Warn("disk: the lock file of a session remains", "error", err)
		}
	}
	s.session.lock.Close()
}

// journal notes that body id belongs to an escaped name and may be without an
// object from now on. The note is a symbolic link whose target is the header
// file's path below objects/: links are made whole in one system call, and file
// systems write them with their other metadata in order, so that the note is on
// disk before the body file that comes after it (on ext4, XFS and their like)
// without an fsync of its own. Nothing ever follows the link.
func (s *Store) journal(id bodyID, escaped string) error {
	err := s.symlink(escaped+leafSuffix, s.session.entry(id))
	if errors.Is(err, fs.ErrExist) {
		// Of an earlier change that failed with unknown outcome.
		return nil
	}
	return err
}

// forget removes a journal entry when the question it asks is settled.
func (s *Store) forget(id bodyID) error {
	return ignoreMissing(s.remove(s.session.entry(id)))
}

// dropBody removes a body that no header file names any more, and then its
// journal entry. What can't be removed is left for the next sweep, which costs
// space and nothing else, so the change that has been made is not reported as
// failed.
func (s *Store) dropBody(id bodyID) {
	s.settled(id, ignoreMissing(s.remove(id.path())))
}

// settled removes a journal entry if the clean-up that it stood for had no
// errors.
func (s *Store) settled(id bodyID, cleanUp ...error) {
	err := errors.Join(cleanUp...)
	if err == nil {
		err = s.forget(id)
	}
	if err != nil {
		s.log.Warn("disk: something that is no longer needed remains for now", "error", err)
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// errLeft is part of a sweep's error for what it did not dare to remove.
var errLeft = errors.New("left in place")

func left(name, why string) error {
	return fmt.Errorf("%s: %w: %s", name, errLeft, why)
}
