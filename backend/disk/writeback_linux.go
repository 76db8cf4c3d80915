package disk

import (
	"os"
	"syscall"
)

// syncFileRangeWrite is SYNC_FILE_RANGE_WRITE of sync_file_range(2): begin to
// write what is dirty, and do not wait.
const syncFileRangeWrite = 2

// beginWriteback asks the kernel to begin writing n bytes of a file to the disk.
// It makes nothing durable and is a hint only: an error of the disk is kept for
// the fsync that follows, and a file system that can't do it writes at fsync.
func beginWriteback(file *os.File, offset, n int64) {
	conn, err := file.SyscallConn()
	if err != nil {
		return // a closed file; the next step says so
	}
	_ = conn.Control(func(fd uintptr) { _ = syscall.SyncFileRange(int(fd), offset, n, syncFileRangeWrite) })
}
