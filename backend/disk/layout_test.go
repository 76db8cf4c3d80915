package disk

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"errors"
	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// TestModes looks at every file that a store makes, under three umasks. It is
// not parallel to any other test, as a umask is the whole process's.
func TestModes(t *testing.T) {
	for _, umask := range []int{0, 0o077, 0o777} {
		dir := t.TempDir() + "/store"
		old := syscall.Umask(umask)
		s, err := New(t.Context(), Config{Dir: dir})
		if err == nil {
			for _, st := range []state{newSmall, oldBig, newBig} {
				_, err = s.Put(t.Context(), target, nil, bytes.NewReader(st.body()), backend.Condition{})
				if err != nil {
					break
				}
			}
		}
		syscall.Umask(old)
		if err != nil {
			t.Fatalf("umask %03o: %v", umask, err)
		}
		n := 0
		walk(t, dir, func(name string, d fs.DirEntry) {
			info, err := d.Info()
			if err != nil {
				t.Fatal(err)
			}
			want := fileMode
			if d.IsDir() {
				want = dirMode
			}
			if n++; info.Mode().Perm() != want {
				t.Errorf("umask %03o: %s has mode %v, want %v", umask, name, info.Mode().Perm(), want)
			}
		})
		if n < 14 {
			t.Errorf("only %d files were seen", n)
		}
		s.Close()
	}
}

func TestLayout(t *testing.T) {
	dir := t.TempDir() + "/store"
	s := openStore(t, Config{Dir: dir})
	v, err := s.Put(t.Context(), "a b/ä", []byte("h"), bytes.NewReader(newBig.body()), backend.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(dir + "/FORMAT"); err != nil || string(text) != "atrest disk 1\n" {
		t.Errorf("FORMAT holds %q, %v", text, err)
	}
	if _, err := os.Stat(dir + "/objects/a!20b/!C3!A4!"); err != nil {
		t.Error(err)
	}
	body, err := os.ReadFile(filepath.Join(dir, "bodies", string(v[:2]), string(v)))
	if err != nil || !bytes.Equal(body, newBig.body()) {
		t.Errorf("body file of %d bytes, %v", len(body), err)
	}
}

func TestRefusedDirectories(t *testing.T) {
	for name, test := range map[string]struct {
		make func(dir string) error
		want string
	}{
		"no parent":          {func(string) error { return nil }, "no such file"},
		"something else":     {func(dir string) error { return os.WriteFile(dir+"/notes.txt", nil, 0o600) }, "something else"},
		"later version":      {func(dir string) error { return os.WriteFile(dir+"/FORMAT", []byte("atrest disk 2\n"), 0o600) }, "understands only"},
		"longer version":     {func(dir string) error { return os.WriteFile(dir+"/FORMAT", []byte("atrest disk 1\nx"), 0o600) }, "understands only"},
		"link for FORMAT":    {func(dir string) error { return os.Symlink("/etc/hostname", dir+"/FORMAT") }, "not a regular file"},
		"writable by group":  {func(dir string) error { return os.Chmod(dir, 0o770) }, "writable by group"},
		"writable by others": {func(dir string) error { return os.Chmod(dir, 0o702) }, "writable by group or others"},
		"link for objects":   {linkFor("objects"), "not a directory"},
		"link for bodies":    {linkFor("bodies"), "not a directory"},
		"link for work":      {linkFor("work"), "not a directory"},
		"link for locks":     {linkFor("locks"), "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() + "/store"
			if name == "no parent" {
				dir += "/below"
			} else if err := errors.Join(os.Mkdir(dir, 0o700), test.make(dir)); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadDir(dir)
			s, err := New(t.Context(), Config{Dir: dir})
			if err == nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("New: %v, want %q", err, test.want)
			}
			if after, _ := os.ReadDir(dir); !strings.HasPrefix(name, "link for") && len(after) != len(before) {
				t.Errorf("New has made %v of %v", after, before)
			}
		})
	}
	if _, err := New(t.Context(), Config{}); err == nil {
		t.Error("New without a directory is no error")
	}
}

func linkFor(name string) func(dir string) error {
	return func(dir string) error {
		outside := filepath.Dir(dir)
		return errors.Join(os.WriteFile(dir+"/FORMAT", []byte(formatText), 0o600), os.Symlink(outside, dir+"/"+name))
	}
}

// TestLinksAreNotFollowed puts symbolic links where files and directories of
// objects belong.
func TestLinksAreNotFollowed(t *testing.T) {
	dir := t.TempDir() + "/store"
	s := openStore(t, Config{Dir: dir})
	put := func(name string) backend.Version {
		v, err := s.Put(t.Context(), name, []byte("h"), bytes.NewReader(newBig.body()), backend.Condition{})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v := put("victim")
	outside := t.TempDir()
	err := errors.Join(
		os.Symlink("victim!", dir+"/objects/inside!"),
		os.Symlink(dir+"/objects/victim!", dir+"/objects/absolute!"),
		os.Symlink(outside, dir+"/objects/out"),
		syscall.Mkfifo(dir+"/objects/pipe!", 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"inside", "absolute", "pipe"} {
		if _, err := s.Get(t.Context(), name, backend.All, ""); !errors.Is(err, atrest.ErrTampered) {
			t.Errorf("Get(%q): %v", name, err)
		}
		if _, err := s.Put(t.Context(), name, nil, bytes.NewReader(nil), backend.Condition{IfAbsent: true}); !errors.Is(err, atrest.ErrExists) {
			t.Errorf("Put(%q) if absent: %v", name, err)
		}
		put(name) // replaces the link, not what it leads to
	}
	if _, err := s.Put(t.Context(), "out/file", nil, bytes.NewReader(nil), backend.Condition{}); err == nil {
		t.Error("a put went through a link that leads out of the store")
	}
	if names, _ := os.ReadDir(outside); len(names) > 0 {
		t.Errorf("outside there is %v now", names)
	}
	if o, err := s.Get(t.Context(), "victim", backend.Range{}, v); err != nil {
		t.Error(err)
	} else {
		o.Body.Close()
	}
	// The body of an object, too.
	body := filepath.Join(dir, "bodies", string(v[:2]), string(v))
	if err := errors.Join(os.Rename(body, body+"x"), os.Symlink(string(v)+"x", body)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "victim", backend.All, ""); !errors.Is(err, atrest.ErrTampered) {
		t.Errorf("Get of an object whose body is a link: %v", err)
	}
}

// TestSteps says which system calls each change is made of, in their order:
// bytes before names, bodies before header files, and the old body last.
func TestSteps(t *testing.T) {
	const (
		writeBody   = "create bodies/xx/ID, write bodies/xx/ID, fsync bodies/xx/ID, fsync bodies/xx, fsync bodies"
		writeHeader = "create work/S/h-ID, write work/S/h-ID, fsync work/S/h-ID"
		look        = "open objects/a/b!"
		install     = "rename objects/a/b!, fsync objects/a, fsync objects"
	)
	for name, test := range map[string]struct {
		from, to state
		do       func(t *testing.T, s *Store, to state) error
		want     string
	}{
		"small over small": {oldSmall, newSmall, putAB, strings.Join([]string{writeHeader, look, install}, ", ")},
		"big over big": {oldBig, newBig, putAB, strings.Join([]string{
			"symlink work/S/j-ID", writeBody, writeHeader, look, "symlink work/S/j-ID", install,
			"remove bodies/xx/ID", "remove work/S/j-ID", "remove work/S/j-ID"}, ", ")},
		"delete big": {oldBig, nothing, func(t *testing.T, s *Store, _ state) error {
			return s.Delete(t.Context(), "a/b", backend.Condition{})
		}, strings.Join([]string{look, "symlink work/S/j-ID", "remove objects/a/b!", "fsync objects/a",
			"remove bodies/xx/ID", "remove work/S/j-ID"}, ", ")},
	} {
		t.Run(name, func(t *testing.T) {
			var steps []string
			hook := func(op, name string, step func() error) error {
				steps = append(steps, op+" "+name)
				return step()
			}
			s := openStore(t, Config{Dir: t.TempDir() + "/store", hook: hook})
			// Whatever is made once only is made before: the directories and the lock
			// files of the stripe.
			if err := errors.Join(putAB(t, s, newBig), putAB(t, s, test.from)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Put(t.Context(), "a/c", nil, bytes.NewReader(nil), backend.Condition{}); err != nil {
				t.Fatal(err)
			}
			prepareBodyDirs(t, s)
			steps = nil
			if err := test.do(t, s, test.to); err != nil {
				t.Fatal(err)
			}
			got := slices.Clone(steps)
			for i, step := range got {
				got[i] = anonymous(step, s.session.id)
			}
			if strings.Join(got, ", ") != test.want {
				t.Errorf("steps:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.ReplaceAll(test.want, ", ", "\n"))
			}
		})
	}
}

func putAB(t *testing.T, s *Store, st state) error {
	_, err := s.Put(t.Context(), "a/b", nil, bytes.NewReader(st.body()), backend.Condition{})
	return err
}

// prepareBodyDirs makes all directories of bodies.
func prepareBodyDirs(t *testing.T, s *Store) {
	for i := range 256 {
		id := bodyID{byte(i)}
		if err := s.makeDirs(id.dir()); err != nil {
			t.Fatal(err)
		}
	}
}

// anonymous replaces what is random in a step.
func anonymous(step, session string) string {
	step = strings.ReplaceAll(step, session, "S")
	parts := strings.Split(step, "/")
	for i, p := range parts {
		if len(p) >= 32 {
			parts[i] = p[:len(p)-32] + "ID"
		}
		if i > 0 && strings.HasSuffix(parts[i-1], "bodies") {
			parts[i] = "xx"
		}
	}
	return strings.Join(parts, "/")
}
