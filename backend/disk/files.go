package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/atrest/atrest"
)

const (
	dirMode  fs.FileMode = 0o700
	fileMode fs.FileMode = 0o600
)

// files are the steps that changes to the store are made of, each one system
// call in essence. All names are relative to DIR and resolved by os.Root, which
// lets no symbolic link lead out of it.
//
// Each step passes through hook if there is one: tests fail it, or kill the
// process before or after it.
type files struct {
	root *os.Root
	hook func(op, name string, step func() error) error
}

// do runs one step and describes its error.
func (f *files) do(op, name string, step func() error) error {
	if f.hook != nil {
		return describe(op, name, f.hook(op, name, step))
	}
	return describe(op, name, step())
}

// describe turns an error of package os, which may hold an absolute path, into
// one with the path relative to DIR, and makes refusals recognisable.
func describe(op, name string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	} else if e, ok := errors.AsType[*os.LinkError](err); ok {
		err = e.Err
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s %s: %w: %w", op, name, atrest.ErrPermission, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%s %s: %w: %w", op, name, atrest.ErrStorageFull, err)
	}
	return fmt.Errorf("%s %s: %w", op, name, err)
}

// setMode gives a file its mode if it has another, as after a umask that takes
// away even the owner's bits. Looking first is cheaper than setting always.
func setMode(file *os.File) error {
	info, err := file.Stat()
	if err != nil || info.Mode().Perm() == fileMode {
		return err
	}
	return file.Chmod(fileMode)
}

// create makes a file that was not there, or none.
func (f *files) create(name string) (file *os.File, err error) {
	err = f.do("create", name, func() error {
		file, err = f.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
		if err != nil {
			return err
		}
		return setMode(file)
	})
	if err != nil && file != nil {
		file.Close()
		return nil, errors.Join(err, f.remove(name))
	}
	return file, err
}

// write appends to a file that create has made.
func (f *files) write(file *os.File, name string, p []byte) error {
	return f.do("write", name, func() error {
		_, err := file.Write(p)
		return err
	})
}

// sync makes the bytes of a file durable.
//
// It is never tried again after an error. The kernel reports a failed write of
// a page once and then takes the page for clean, so a second fsync would
// succeed without the bytes having reached the disk. Whoever called has to
// begin again with a new file.
func (f *files) sync(file *os.File, name string) error {
	return f.do("fsync", name, file.Sync)
}

// writeFile makes a new file durable, its name in the directory excepted. After
// an error no file is left, unless removing it fails too.
func (f *files) writeFile(name string, parts ...[]byte) error {
	file, err := f.create(name)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if len(p) > 0 && err == nil {
			err = f.write(file, name, p)
		}
	}
	if err == nil {
		err = f.sync(file, name)
	}
	// After fsync, close has nothing left to report.
	file.Close()
	if err != nil {
		return errors.Join(err, f.remove(name))
	}
	return nil
}

func (f *files) rename(from, to string) error {
	return f.do("rename", to, func() error { return f.root.Rename(from, to) })
}

func (f *files) link(from, to string) error {
	return f.do("link", to, func() error { return f.root.Link(from, to) })
}

func (f *files) symlink(target, name string) error {
	return f.do("symlink", name, func() error { return f.root.Symlink(target, name) })
}

func (f *files) remove(name string) error {
	return f.do("remove", name, func() error { return f.root.Remove(name) })
}

// mkdir makes a directory, and sets its mode again for the umask's sake.
func (f *files) mkdir(name string) error {
	return f.do("mkdir", name, func() error {
		if err := f.root.Mkdir(name, dirMode); err != nil {
			return err
		}
		return f.root.Chmod(name, dirMode)
	})
}

// syncDir makes durable which names the directory holds.
func (f *files) syncDir(name string) error {
	return f.do("fsync", name, func() error {
		dir, err := f.root.Open(name)
		if err != nil {
			return err
		}
		defer dir.Close()
		return dir.Sync()
	})
}

// errNotRegular means that something else than a file is where a file of ours
// belongs.
var errNotRegular = errors.New("not a regular file")

// openRegular opens a file for reading. os.Root would follow a symbolic link
// that stays inside; none is ever made at the place of a file, so one that is
// there is refused. Something that is swapped in between the two calls can't
// lead out of DIR either, nor block the open.
func (f *files) openRegular(name string) (file *os.File, info fs.FileInfo, err error) {
	err = f.do("open", name, func() error {
		info, err = f.root.Lstat(name)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return errNotRegular
		}
		file, err = f.root.OpenFile(name, os.O_RDONLY|nonBlock, 0)
		if err != nil {
			return err
		}
		info, err = file.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = errNotRegular
		}
		return err
	})
	if err != nil {
		if file != nil {
			file.Close()
		}
		return nil, nil, err
	}
	return file, info, nil
}
