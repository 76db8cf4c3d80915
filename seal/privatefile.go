package seal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/atrest/atrest"
)

// A reader says who may read a file beside its owner and root.
type reader fs.FileMode

const (
	ownerReads reader = 0
	groupReads reader = 0o040
)

// errTooLong means that a file has more bytes than there are to be in it.
var errTooLong = errors.New("file is too long")

// readTries bounds how often readPrivate begins again when the file is being
// replaced under its hands.
const readTries = 100

// readPrivate returns the contents, of at most limit bytes, of a file that only
// its owner, who is this user or root, can have written, and that nobody else
// may read. Otherwise it is ErrUnsafePermissions, before a byte is read. The
// file's path may lead through symbolic links but must not be one. The caller
// wipes the contents.
func readPrivate(path string, limit int, who reader) ([]byte, error) {
	dir, base, err := openPrivateDir(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	for range readTries {
		file, err := openPrivate(dir, base, path, who)
		if err != nil {
			return nil, err
		}
		if file != nil {
			defer file.Close()
			return readBounded(file, limit)
		}
	}
	return nil, fmt.Errorf("%w: %q changes all the time", atrest.ErrUnsafePermissions, path)
}

// openPrivate opens the file, or returns nil if it was replaced meanwhile. That
// it is no symbolic link is seen without following it; that it still is the same
// file, from the open file.
func openPrivate(dir *os.Root, base, path string, who reader) (*os.File, error) {
	before, err := dir.Lstat(base)
	if err != nil {
		return nil, err
	}
	if err := checkPrivate(before, path, who); err != nil {
		return nil, err
	}
	file, err := dir.OpenFile(base, os.O_RDONLY|nonBlock, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the next Lstat says so too, or finds another
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && os.SameFile(before, info) {
		err = checkPrivate(info, path, who)
		if err == nil {
			return file, nil
		}
	}
	file.Close()
	return nil, err
}

// checkPrivate returns ErrUnsafePermissions unless info is of a regular file
// that nobody but its owner, this user or root, can read or write.
func checkPrivate(info fs.FileInfo, path string, who reader) error {
	mode := info.Mode()
	switch {
	case mode&fs.ModeSymlink != 0:
		return fmt.Errorf("%w: %q is a symbolic link: name the file itself", atrest.ErrUnsafePermissions, path)
	case !mode.IsRegular():
		return fmt.Errorf("%w: %q is not a regular file", atrest.ErrUnsafePermissions, path)
	case !trustedOwner(info):
		return fmt.Errorf("%w: %q belongs neither to this user nor to root: chown it to the user that runs this program", atrest.ErrUnsafePermissions, path)
	case hasModes && mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky|0o077&^fs.FileMode(who)) != 0:
		// What the owner may do is right as it is: 0400 for a key, 0600 for a password file.
		return fmt.Errorf("%w: %q has mode %v: chmod %#04o %q", atrest.ErrUnsafePermissions, path, mode, mode.Perm()&0o600|0o400, path)
	}
	return nil
}

// openPrivateDir opens the directory that path is in, where base is its name. It
// returns ErrUnsafePermissions if others may replace files there. That is not so
// in a directory with the sticky bit: there everybody replaces only what is his.
func openPrivateDir(path string) (dir *os.Root, base string, err error) {
	name := filepath.Dir(path)
	dir, err = os.OpenRoot(name)
	if err != nil {
		return nil, "", err
	}
	info, err := dir.Stat(".")
	if err == nil && !trustedOwner(info) {
		err = fmt.Errorf("%w: directory %q belongs neither to this user nor to root, so that its owner may replace files there: chown it",
			atrest.ErrUnsafePermissions, name)
	}
	if err == nil && hasModes && info.Mode()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		err = fmt.Errorf("%w: others may replace files in directory %q: chmod go-w %q", atrest.ErrUnsafePermissions, name, name)
	}
	if err != nil {
		dir.Close()
		return nil, "", err
	}
	return dir, filepath.Base(path), nil
}

// readBounded reads at most limit bytes into a buffer that need not grow, and so
// leaves no copies behind.
func readBounded(file *os.File, limit int) ([]byte, error) {
	buf := make([]byte, limit+1)
	n, err := io.ReadFull(file, buf)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return buf[:n], nil
	}
	wipe(buf)
	if err == nil {
		err = errTooLong
	}
	return nil, err
}
