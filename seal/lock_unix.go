//go:build unix && !aix && !illumos && !solaris

package seal

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// A write takes milliseconds. Who holds the lock for longer than lockWait is
// stopped, or wants to be in the way: anyone who may read a directory may lock it.
const (
	lockWait = 2 * time.Second
	lockPoll = 5 * time.Millisecond
)

// lockDir takes the lock on an open directory that all writers take. The kernel
// releases it when the directory is closed or the process dies.
//
// It reports false if the lock is not to be had: it is held for too long, or the
// file system has none on directories. A write does without: the rename keeps
// the file whole all the same. Only leftovers have to stay then, and the write fails
// if it loses its temporary file to a writer that has the lock.
func lockDir(dir *os.File) bool {
	for start := time.Now(); ; time.Sleep(lockPoll) {
		err := flock(dir)
		if err == nil {
			return true
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Since(start) > lockWait {
			return false
		}
	}
}

func flock(dir *os.File) error {
	conn, err := dir.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = conn.Control(func(fd uintptr) {
		for {
			if result = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB); result != syscall.EINTR {
				return
			}
		}
	})
	return errors.Join(err, result)
}
