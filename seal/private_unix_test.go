//go:build unix

package seal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/atrest/atrest"
)

// A reading is a way to read a file of secrets; good is what it should contain.
type reading struct {
	good       string
	read       func(path string) error
	groupReads bool
}

func readings(t *testing.T) map[string]reading {
	good, err := marshalPasswordFile(&passwordFile{install: newInstallID(), generation: 1, password: secretOf(testPassword)}, [][]byte{keyOf(1)})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]reading{
		"key file": {keyText, func(path string) error { _, err := KeyFile(path).InstanceKey(t.Context()); return err }, false},
		"credential": {keyText, func(path string) error {
			t.Setenv(credentialsDirectory, filepath.Dir(path))
			_, err := Credential(filepath.Base(path)).InstanceKey(t.Context())
			return err
		}, true},
		"password file": {string(good), func(path string) error { _, err := readPasswordFile(path, keyOf(1)); return err }, false},
	}
}

func TestUnsafeFilesAreRefused(t *testing.T) {
	for name, r := range readings(t) {
		t.Run(name, func(t *testing.T) {
			dir := privateDir(t)
			n := 0
			// try makes a good file, spoils it, and reads it.
			try := func(spoil func(path string) error) error {
				t.Helper()
				n++
				path := filepath.Join(dir, "file"+strings.Repeat("x", n))
				mustWrite(t, path, r.good, 0o400)
				if err := spoil(path); err != nil {
					t.Fatal(err)
				}
				return r.read(path)
			}
			unsafe := func(what string, spoil func(path string) error) {
				t.Helper()
				if err := try(spoil); !errors.Is(err, atrest.ErrUnsafePermissions) {
					t.Errorf("%s: %v", what, err)
				}
			}
			safe := func(what string, spoil func(path string) error) {
				t.Helper()
				if err := try(spoil); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			as := func(mode os.FileMode) func(string) error {
				return func(path string) error { return os.Chmod(path, mode) }
			}
			safe("0400", as(0o400))
			safe("0600", as(0o600))
			for bit := os.FileMode(1); bit < 0o100; bit <<= 1 {
				if bit == 0o040 && r.groupReads {
					safe("group-readable", as(0o400|bit))
				} else {
					unsafe("mode "+(0o400|bit).String(), as(0o400|bit))
				}
			}
			unsafe("setuid", as(0o400|os.ModeSetuid))
			unsafe("setgid", as(0o400|os.ModeSetgid))
			unsafe("sticky", as(0o400|os.ModeSticky))
			unsafe("symbolic link", func(path string) error {
				return errors.Join(os.Rename(path, path+".target"), os.Symlink(filepath.Base(path)+".target", path))
			})
			unsafe("symbolic link out of the directory", func(path string) error {
				target := filepath.Join(privateDir(t), "target")
				return errors.Join(os.Rename(path, target), os.Symlink(target, path))
			})
			unsafe("dangling symbolic link", func(path string) error {
				return errors.Join(os.Remove(path), os.Symlink("nowhere", path))
			})
			unsafe("directory", func(path string) error {
				return errors.Join(os.Remove(path), os.Mkdir(path, 0o400))
			})
			unsafe("FIFO", func(path string) error {
				return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o400))
			})
			unsafe("device", func(path string) error {
				return errors.Join(os.Remove(path), os.Symlink("/dev/zero", path))
			})
		})
	}
	for _, device := range []string{"/dev/zero", "/dev/null"} {
		_, err := KeyFile(device).InstanceKey(t.Context())
		wantError(t, err, atrest.ErrUnsafePermissions)
	}
}

func TestOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("files of other users are NOT tested: to make one takes root")
	}
	for name, r := range readings(t) {
		dir := privateDir(t)
		path := filepath.Join(dir, "file")
		mustWrite(t, path, r.good, 0o400)
		chown := func(path string, uid int) {
			t.Helper()
			if err := os.Chown(path, uid, 0); err != nil {
				t.Fatal(err)
			}
		}
		chown(path, 12345)
		if err := r.read(path); !errors.Is(err, atrest.ErrUnsafePermissions) {
			t.Errorf("%s: %v", name, err)
		}
		chown(path, 0)
		chown(dir, 12345)
		if err := r.read(path); !errors.Is(err, atrest.ErrUnsafePermissions) {
			t.Errorf("%s in another's directory: %v", name, err)
		}
		chown(dir, 0)
		if err := r.read(path); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDirectories(t *testing.T) {
	for name, r := range readings(t) {
		dir := privateDir(t)
		path := filepath.Join(dir, "file")
		mustWrite(t, path, r.good, 0o400)
		for mode, good := range map[os.FileMode]bool{
			0o700: true, 0o500: true, 0o755: true, 0o750: true, 0o777 | os.ModeSticky: true,
			0o770: false, 0o720: false, 0o702: false, 0o777: false,
		} {
			if err := os.Chmod(dir, mode); err != nil {
				t.Fatal(err)
			}
			if err := r.read(path); good && err != nil || !good && !errors.Is(err, atrest.ErrUnsafePermissions) {
				t.Errorf("%s in a directory of mode %v: %v", name, mode, err)
			}
			if good {
				continue
			}
			wantError(t, CreateKeyFile(filepath.Join(dir, "new")), atrest.ErrUnsafePermissions)
			wantError(t, writePasswordFile(filepath.Join(dir, "new"), &passwordFile{install: newInstallID(), generation: 1,
				password: secretOf(testPassword)}, keyOf(1)), atrest.ErrUnsafePermissions)
		}
		os.Chmod(dir, 0o700)
		// Symbolic links on the way are the operator's choice.
		link := filepath.Join(privateDir(t), "link")
		if err := os.Symlink(dir, link); err != nil {
			t.Fatal(err)
		}
		if err := r.read(filepath.Join(link, "file")); err != nil {
			t.Errorf("%s through a link: %v", name, err)
		}
		t.Chdir(dir)
		if name != "credential" {
			if err := r.read("file"); err != nil {
				t.Errorf("%s by a relative path: %v", name, err)
			}
		}
	}
}

func TestRemedies(t *testing.T) {
	dir := privateDir(t)
	path := filepath.Join(dir, "key")
	for mode, want := range map[os.FileMode]string{0o644: "0600", 0o444: "0400", 0o700 | os.ModeSetuid: "0600", 0o004: "0400"} {
		mustWrite(t, path, keyText, mode)
		_, err := KeyFile(path).InstanceKey(t.Context())
		if err == nil || !strings.Contains(err.Error(), "chmod "+want+` "`+path+`"`) {
			t.Errorf("%v", err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	mustWrite(t, path, keyText, 0o400)
	if err := os.Symlink("key", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	_, err := KeyFile(filepath.Join(dir, "link")).InstanceKey(t.Context())
	if err == nil || !strings.Contains(err.Error(), "symbolic link: name the file itself") {
		t.Errorf("%v", err)
	}
	os.Chmod(dir, 0o777)
	_, err = KeyFile(path).InstanceKey(t.Context())
	if err == nil || !strings.Contains(err.Error(), `chmod go-w "`+dir+`"`) {
		t.Errorf("%v", err)
	}
}

// Whoever swaps the file for a symbolic link between the look at it and the
// opening gets nothing read through the link.
func TestSwappedForLink(t *testing.T) {
	dir := privateDir(t)
	path, target, link, file := filepath.Join(dir, "key"), filepath.Join(dir, "target"), filepath.Join(dir, "link"), filepath.Join(dir, "file")
	mustWrite(t, path, keyText, 0o400)
	mustWrite(t, target, strings.Repeat("A", 43), 0o400) // another key
	var swapper sync.WaitGroup
	var done atomic.Bool
	defer swapper.Wait()
	defer done.Store(true)
	swapper.Go(func() {
		for !done.Load() {
			err := errors.Join(os.Symlink("target", link), os.Rename(link, path), os.WriteFile(file, []byte(keyText), 0o400), os.Rename(file, path))
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	read, refused := 0, 0
	for start := time.Now(); read < 1000 || refused < 100; {
		if time.Since(start) > time.Minute {
			t.Fatalf("read %d times, refused %d times: nothing is swapped", read, refused)
		}
		key, err := KeyFile(path).InstanceKey(t.Context())
		switch {
		case errors.Is(err, atrest.ErrUnsafePermissions):
			refused++
		case err == nil && bytes.Equal(key, keyOf(7)):
			read++
		default:
			t.Fatalf("%x, %v", key, err)
		}
	}
}
