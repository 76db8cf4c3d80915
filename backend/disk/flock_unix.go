//go:build unix && !aix && !illumos && !solaris

package disk

import (
	"errors"
	"os"
	"syscall"
)

// nonBlock keeps an open from waiting for the other end of a FIFO.
const nonBlock = syscall.O_NONBLOCK

// errLocked means that another open file holds the lock.
var errLocked = errors.New("locked by another process")

// flock takes the exclusive lock on an open file. The kernel releases it when
// the file is closed or the process dies, in whatever way. Without wait it
// returns errLocked at once if the lock is taken.
func flock(file *os.File, wait bool) error {
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	err := control(file, func(fd int) error { return syscall.Flock(fd, how) })
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return err
}

// funlock releases the lock.
func funlock(file *os.File) error {
	return control(file, func(fd int) error { return syscall.Flock(fd, syscall.LOCK_UN) })
}

// control calls do with the descriptor, again if a signal came in between.
// File.Fd is avoided because a concurrent Close could free the descriptor.
func control(file *os.File, do func(fd int) error) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = conn.Control(func(fd uintptr) {
		for {
			if result = do(int(fd)); result != syscall.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return result
}
