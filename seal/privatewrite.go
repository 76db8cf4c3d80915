package seal

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/atrest/atrest"
)

// A commit says how a file that is whole and durable gets its name.
type commit bool

const (
	replace commit = true  // in place of a file of that name, if there is one
	create  commit = false // only if there is none; else ErrExists
)

// writePrivate makes a file whole or not at all. In this order, which is what
// makes it survive the death of the machine:
//
//	write a file of a name of its own; fsync it
//	rename it, or link it and remove the first name
//	fsync the directory
//
// A death in between leaves that first file, .NAME.tmp-*, which the next write
// removes. An error from the last step leaves it open whether the new file will
// be there after a death; before that, everything is as it was.
func writePrivate(path string, data []byte, mode fs.FileMode, how commit) error {
	dir, base, err := openPrivateDir(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	self, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer self.Close() // ends the lock
	if lockDir(self) { // or another writer's file would be taken for a leftover
		if err := removeLeftovers(dir, self, base); err != nil {
			return err
		}
	}
	temp := tempPrefix(base) + randomName()
	err = writeTemp(dir, temp, data, mode)
	if err == nil {
		err = how.commit(dir, temp, base)
	}
	if err != nil {
		dir.Remove(temp) // if that fails, the next write does it
		return describeWrite(err)
	}
	return describeWrite(syncDir(self))
}

func (c commit) commit(dir *os.Root, temp, base string) error {
	if c == replace {
		return dir.Rename(temp, base)
	}
	err := dir.Link(temp, base)
	if errors.Is(err, fs.ErrExist) {
		return atrest.ErrExists
	}
	if err != nil {
		return err
	}
	dir.Remove(temp) // if that fails, the next write does it
	return nil
}

// writeTemp writes and syncs a new file.
func writeTemp(dir *os.Root, name string, data []byte, mode fs.FileMode) error {
	file, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = file.Chmod(mode) // whatever the umask says
	if err == nil {
		_, err = file.Write(data)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func tempPrefix(base string) string { return "." + base + ".tmp-" }

// randomNameSize is the length of a randomName in characters.
const randomNameSize = 32

func randomName() string {
	var b [randomNameSize / 2]byte
	rand.Read(b[:]) // never fails: it would end the program
	return hex.EncodeToString(b[:])
}

// removeLeftovers removes what writers that died have left.
func removeLeftovers(dir *os.Root, self *os.File, base string) error {
	prefix := tempPrefix(base)
	for {
		names, err := self.Readdirnames(256)
		for _, name := range names {
			if strings.HasPrefix(name, prefix) && len(name) == len(prefix)+randomNameSize {
				// It may be another user's, in a directory like /tmp. Then it stays.
				dir.Remove(name)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// makePrivateDir makes dir, and what is missing above it, durable and for this
// user alone.
func makePrivateDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir {
		if err := makePrivateDir(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // if not a directory, what follows says so
	}
	if err != nil {
		return describeWrite(err)
	}
	parent, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer parent.Close()
	return syncDir(parent)
}

// describeWrite names the errors that callers branch on.
func describeWrite(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", atrest.ErrStorageFull, err)
	}
	return err
}
