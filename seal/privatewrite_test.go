package seal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/tinyfs"
)

func leftover(base string) string { return tempPrefix(base) + strings.Repeat("0f", randomNameSize/2) }

// What a writer that died has left is no harm, and is removed by the next one.
func TestLeftoversAreRemoved(t *testing.T) {
	dir := privateDir(t)
	path := filepath.Join(dir, "password")
	f := passwordFileOf(testPassword, "")
	if err := writePasswordFile(path, f, keyOf(1)); err != nil {
		t.Fatal(err)
	}
	kept := []string{".password.tmp-short", leftover("other"), leftover("password") + "0", "x" + leftover("password"), "password.bak"}
	for _, name := range append([]string{leftover("password"), tempPrefix("password") + randomName()}, kept...) {
		mustWrite(t, filepath.Join(dir, name), "torn", 0o600)
	}
	if got, err := readPasswordFile(path, keyOf(1)); err != nil || !samePasswordFile(got, f) {
		t.Errorf("beside leftovers: %v", err)
	}
	if err := writePasswordFile(path, f, keyOf(1)); err != nil {
		t.Fatal(err)
	}
	want := append(kept, "password")
	slices.Sort(want)
	if names := namesIn(t, dir); !slices.Equal(names, want) {
		t.Errorf("left: %q, want %q", names, want)
	}
	// The same for a key file: an attempt to create one that died leaves no key.
	mustWrite(t, filepath.Join(dir, leftover("key")), keyText, 0o400)
	if err := CreateKeyFile(filepath.Join(dir, "key")); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(namesIn(t, dir), leftover("key")) {
		t.Error("the leftover of a key file is still there")
	}
}

// A write replaces what is there in one step, whatever that is: the file that a
// reader has open stays as it was.
func TestWriteReplaces(t *testing.T) {
	dir := privateDir(t)
	path := filepath.Join(dir, "password")
	mustWrite(t, path, "old", 0o644)
	old, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := writePasswordFile(path, passwordFileOf(testPassword, ""), keyOf(1)); err != nil {
		t.Fatal(err)
	}
	was := make([]byte, 10)
	if n, _ := old.Read(was); string(was[:n]) != "old" {
		t.Errorf("the old file has become %q", was[:n])
	}
	if info, err := os.Stat(path); err != nil || hasModes && info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	// Not through a symbolic link.
	target := filepath.Join(dir, "target")
	mustWrite(t, target, "target", 0o600)
	link := filepath.Join(dir, "link")
	if err := os.Symlink("target", link); err != nil {
		t.Fatal(err)
	}
	if err := writePasswordFile(link, passwordFileOf(testPassword, ""), keyOf(1)); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(target); string(text) != "target" || err != nil {
		t.Errorf("the link's target has become %q, %v", text, err)
	}
	// Nor in place of a directory.
	if err := os.Mkdir(filepath.Join(dir, "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writePasswordFile(filepath.Join(dir, "directory"), passwordFileOf(testPassword, ""), keyOf(1)); err == nil {
		t.Error("a directory was replaced")
	}
	for _, name := range namesIn(t, dir) {
		if strings.Contains(name, ".tmp-") {
			t.Errorf("left: %q", name)
		}
	}
}

// Of writers at the same time each succeeds; readers see the file of one of
// them, whole, at any time.
func TestConcurrentWriters(t *testing.T) {
	dir := privateDir(t)
	path := filepath.Join(dir, "password")
	f := passwordFileOf("password 0 of all", "")
	if err := writePasswordFile(path, f, keyOf(1)); err != nil {
		t.Fatal(err)
	}
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for i := range 6 {
		writers.Go(func() {
			g := *f
			for j := range 10 {
				g.password = secretOf(fmt.Sprintf("password %d of writer %d", j, i))
				if err := writePasswordFile(path, &g, keyOf(1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	readers.Go(func() {
		for {
			got, err := readPasswordFile(path, keyOf(1))
			if err != nil || !strings.HasPrefix(string(got.password.bytes()), "password ") {
				t.Errorf("%v", err)
				return
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	writers.Wait()
	close(done)
	readers.Wait()
	if names := namesIn(t, dir); !slices.Equal(names, []string{"password"}) {
		t.Errorf("left: %q", names)
	}
}

// Of those who create a key file at the same time one succeeds.
func TestConcurrentCreators(t *testing.T) {
	dir := privateDir(t)
	path := filepath.Join(dir, "key")
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for range cap(errs) {
		wg.Go(func() { errs <- CreateKeyFile(path) })
	}
	wg.Wait()
	close(errs)
	created := 0
	for err := range errs {
		if err == nil {
			created++
		} else {
			wantError(t, err, atrest.ErrExists)
		}
	}
	if names := namesIn(t, dir); created != 1 || !slices.Equal(names, []string{"key"}) {
		t.Errorf("%d created, left: %q", created, names)
	}
	if _, err := KeyFile(path).InstanceKey(t.Context()); err != nil {
		t.Error(err)
	}
}

// On a full disk a write fails and leaves the old file, and no other.
func TestDiskFull(t *testing.T) {
	dir := tinyfs.Mount(t, 64<<10)
	path := filepath.Join(dir, "password")
	f := passwordFileOf(testPassword, "")
	if err := writePasswordFile(path, f, keyOf(1)); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	wantError(t, writePasswordFile(path, passwordFileOf("another password", ""), keyOf(1), keyOf(2)), atrest.ErrStorageFull)
	wantError(t, CreateKeyFile(filepath.Join(dir, "key")), atrest.ErrStorageFull)
	if got, err := readPasswordFile(path, keyOf(1)); err != nil || !samePasswordFile(got, f) {
		t.Errorf("the old file: %v", err)
	}
	if names := namesIn(t, dir); !slices.Equal(names, []string{"filler", "password"}) {
		t.Errorf("left: %q", names)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(writePasswordFile(path, f, keyOf(1)), CreateKeyFile(filepath.Join(dir, "key"))); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
