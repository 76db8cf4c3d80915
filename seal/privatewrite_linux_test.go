package seal

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/atrest/atrest/internal/tinyfs"
)

// A directory that can't be written fails the write and nothing else. Root may
// write any directory, but not a file system that is mounted read-only.
func TestUnwritableDirectory(t *testing.T) {
	dir := tinyfs.Mount(t, 64<<10)
	path := filepath.Join(dir, "password")
	f := passwordFileOf(testPassword, "")
	if err := writePasswordFile(path, f, keyOf(1)); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(dir, leftover("password")), "torn", 0o600)
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	wantError(t, writePasswordFile(path, passwordFileOf("another password", ""), keyOf(1)), syscall.EROFS)
	wantError(t, writePasswordFile(filepath.Join(dir, "new", "password"), f, keyOf(1)), syscall.EROFS)
	wantError(t, CreateKeyFile(filepath.Join(dir, "key")), syscall.EROFS)
	if got, err := readPasswordFile(path, keyOf(1)); err != nil || !samePasswordFile(got, f) {
		t.Errorf("the old file: %v", err)
	}
}

// Who holds the lock on the directory, which any reader of it may, delays a
// write and keeps leftovers where they are, no more.
func TestLockHeldByAnother(t *testing.T) {
	dir := privateDir(t)
	path := filepath.Join(dir, "password")
	mustWrite(t, filepath.Join(dir, leftover("password")), "torn", 0o600)
	holder, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if err := flock(holder); err != nil {
		t.Fatal(err)
	}
	f := passwordFileOf(testPassword, "")
	if err := writePasswordFile(path, f, keyOf(1)); err != nil {
		t.Fatal(err)
	}
	if got, err := readPasswordFile(path, keyOf(1)); err != nil || !samePasswordFile(got, f) {
		t.Errorf("%v", err)
	}
	if names := namesIn(t, dir); !slices.Equal(names, []string{leftover("password"), "password"}) {
		t.Errorf("left: %q", names)
	}
}
