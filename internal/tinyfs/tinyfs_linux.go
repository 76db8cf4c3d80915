// Package tinyfs gives tests a file system that is soon full.
package tinyfs

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

// Mount mounts a file system in memory of size bytes and returns its directory,
// of mode 0700. It is unmounted when the test ends, even while some process
// still holds a file in it.
//
// Only root may mount. Anyone else's test is skipped and says so.
func Mount(t testing.TB, size int64) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a full file system is NOT tested: to mount one takes root")
	}
	dir = t.TempDir()
	options := fmt.Sprintf("size=%d,mode=0700", size)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, options); err != nil {
		t.Fatalf("mounting a tmpfs of %d bytes: %v", size, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}
