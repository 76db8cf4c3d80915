package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/atrest/atrest"
)

// The names directly under DIR.
const (
	formatFile = "FORMAT"
	formatTemp = "FORMAT.new"
	objectsDir = "objects"
	bodiesDir  = "bodies"
	workDir    = "work"
	locksDir   = "locks"
)

// formatText is what FORMAT holds. A program that meets another text there
// keeps its hands off the directory.
const formatText = "atrest disk 1\n"

// openDir opens dir as the root of a store, making it one if it is empty or
// missing.
func openDir(dir string, hook func(op, name string, step func() error) error) (*files, error) {
	made, err := makeDir(dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	f := &files{root: root, hook: hook}
	if _, err := root.Lstat(formatFile); errors.Is(err, fs.ErrNotExist) {
		// Made just now, or by a process that died before it came to this.
		// Where we may not look at the parent, whoever made it has to answer.
		err := syncParent(dir)
		if err != nil && (made || !errors.Is(err, fs.ErrPermission)) {
			root.Close()
			return nil, err
		}
	}
	if err := prepare(f); err != nil {
		root.Close()
		return nil, err
	}
	return f, nil
}

// makeDir makes dir if it is missing.
func makeDir(dir string) (made bool, err error) {
	err = os.Mkdir(dir, dirMode)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, os.Chmod(dir, dirMode)
}

// syncParent makes dir's own name durable, so that a store does not vanish with
// its directory.
func syncParent(dir string) error {
	parent, err := os.Open(filepath.Dir(filepath.Clean(dir)))
	if err != nil {
		return err
	}
	defer parent.Close()
	return parent.Sync()
}

// prepare checks the directory and brings it into form. It does so under a lock
// on the directory itself, so that of several processes that start at once on
// an empty directory each finds it either empty or prepared.
func prepare(f *files) error {
	self, err := f.root.Open(".")
	if err != nil {
		return err
	}
	defer self.Close() // which releases the lock too
	if err := checkMode(self); err != nil {
		return err
	}
	if err := flock(self, true); err != nil {
		return fmt.Errorf("lock the directory: %w", err)
	}
	if err := prepareFormat(f, self); err != nil {
		return err
	}
	for _, name := range []string{objectsDir, bodiesDir, workDir, locksDir} {
		if err := prepareSubdir(f, name); err != nil {
			return err
		}
	}
	return f.syncDir(".")
}

// checkMode refuses a directory in which others can rename, replace and remove
// files. They still could not read a plaintext or pass off a forged one, but
// nothing could be promised about durability.
func checkMode(dir *os.File) error {
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("directory has mode %04o: it must not be writable by group or others (chmod go-w)", mode)
	}
	return nil
}

// prepareFormat checks FORMAT, or writes it into an empty directory. A death
// before the rename leaves FORMAT.new, which the next start ignores and
// replaces; after it, the directory is a store whose subdirectories the next
// start makes.
func prepareFormat(f *files, self *os.File) error {
	if err := checkCase(f); err != nil {
		return err
	}
	err := checkFormat(f)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := checkEmpty(self); err != nil {
		return err
	}
	if err := f.remove(formatTemp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := f.writeFile(formatTemp, []byte(formatText)); err != nil {
		return err
	}
	if err := f.rename(formatTemp, formatFile); err != nil {
		return err
	}
	if err := f.syncDir("."); err != nil {
		return err
	}
	return checkCase(f)
}

// checkFormat returns nil if FORMAT is there and ours, and an error that is
// fs.ErrNotExist if it is missing.
func checkFormat(f *files) error {
	file, _, err := f.openRegular(formatFile)
	if err != nil {
		return err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, int64(len(formatText))+1))
	if err != nil {
		return err
	}
	if string(text) != formatText {
		return fmt.Errorf("%s holds %q, this program understands only %q", formatFile, text, formatText)
	}
	return nil
}

// checkEmpty refuses to turn a directory with someone's files into a store.
// lost+found is what a freshly made file system has at its top.
func checkEmpty(self *os.File) error {
	names, err := self.Readdirnames(16)
	if err != nil && err != io.EOF {
		return err
	}
	for _, name := range names {
		if name != formatTemp && name != "lost+found" {
			return fmt.Errorf("directory is not empty and has no file %s: it holds something else (%q)", formatFile, name)
		}
	}
	return nil
}

// checkCase refuses file systems that take "a" and "A" for the same name: two
// objects would meet in one file.
func checkCase(f *files) error {
	_, err := f.root.Lstat("format")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%w: the file system ignores the case of names, or there is a file named \"format\"", atrest.ErrUnsupported)
}

// prepareSubdir makes one directory of the layout if it is missing, and refuses
// anything else in its place, a symbolic link above all.
func prepareSubdir(f *files, name string) error {
	if err := f.mkdir(name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := f.root.Lstat(name)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", name)
	}
	return nil
}
