//go:build unix && !aix && !illumos && !solaris

package disk

import (
	"io/fs"
	"os"
	"syscall"
)

// foreignOwner returns the owner, if that is neither this process's user nor root.
func foreignOwner(info fs.FileInfo) (uid int, foreign bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false // not reached: os fills this in
	}
	uid = int(stat.Uid)
	return uid, uid != 0 && uid != os.Geteuid()
}
