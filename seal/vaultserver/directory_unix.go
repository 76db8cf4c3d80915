//go:build unix

package vaultserver

import (
	"io/fs"
	"os"
	"syscall"
)

// hasModes says that the mode of a file tells who may read it.
const hasModes = true

func ownedByUs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int64(stat.Uid) == int64(os.Geteuid())
}
