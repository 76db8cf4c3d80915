//go:build unix

package seal

import (
	"io/fs"
	"os"
	"syscall"
)

// nonBlock keeps an open from waiting for the other end of a FIFO.
const nonBlock = syscall.O_NONBLOCK

// hasModes says that the mode of a file tells who may read it.
const hasModes = true

// trustedOwner reports whether the file is this user's or root's.
func trustedOwner(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (stat.Uid == 0 || int64(stat.Uid) == int64(os.Geteuid()))
}

// syncDir makes durable what was done in a directory.
func syncDir(dir *os.File) error { return dir.Sync() }
