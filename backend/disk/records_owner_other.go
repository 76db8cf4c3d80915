//go:build !unix || aix || illumos || solaris

package disk

import "io/fs"

// foreignOwner is not reached: without flock there are no Records.
func foreignOwner(fs.FileInfo) (uid int, foreign bool) { return 0, false }
