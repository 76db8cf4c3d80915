//go:build unix && !aix && !illumos && !solaris

package vaultserver

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockExclusive takes the lock on an open file, or returns ErrInUse. The kernel gives
// it up when the file is closed or the process dies.
func lockExclusive(file *os.File) error {
	conn, err := file.SyscallConn()
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
	if errors.Is(result, syscall.EWOULDBLOCK) {
		return ErrInUse
	}
	if err = errors.Join(err, result); err != nil {
		return fmt.Errorf("locking the directory: %w", err)
	}
	return nil
}
