package vaultserver

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/atrest/atrest"
)

const (
	configFile = "vault.hcl"
	lockFile   = "lock"
	tempSuffix = ".tmp"
)

// openDir makes the server's directory if it is missing, and takes its lock, which
// closing the result gives up. What writers that died have left is removed.
func openDir(dir string) (lock *os.File, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockExclusive(file); err != nil {
		file.Close() // it was opened for the lock
		return nil, fmt.Errorf("%q: %w", dir, err)
	}
	if err := removeLeftovers(dir); err != nil {
		file.Close() // as above
		return nil, err
	}
	return file, nil
}

// checkDir returns ErrUnsafePermissions unless only this user can get at what is in dir.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%w: %q is not a directory", atrest.ErrUnsafePermissions, dir)
	case !ownedByUs(info):
		return fmt.Errorf("%w: %q belongs to another user: chown it to the user that runs this program", atrest.ErrUnsafePermissions, dir)
	case hasModes && info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%w: %q has mode %v: chmod 0700 %q", atrest.ErrUnsafePermissions, dir, info.Mode(), dir)
	}
	return nil
}

func removeLeftovers(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") && strings.HasSuffix(entry.Name(), tempSuffix) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, entry.Name())))
		}
	}
	return err
}

// writePrivate replaces a file of the server's directory, whole or not at all. All of
// them can be made again, so the directory is not synced.
func writePrivate(path string, data []byte) (err error) {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text()+tempSuffix)
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync() // else a file may be empty after a death of the machine
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp) // if that fails, the next Start does it
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", atrest.ErrStorageFull, err)
	}
	return err
}

// removeConfig removes what holds the password of the database.
func removeConfig(dir string) error {
	err := os.Remove(filepath.Join(dir, configFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
