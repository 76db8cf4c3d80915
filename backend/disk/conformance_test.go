package disk

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/backendtest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if runChild() {
		return
	}
	goleak.VerifyTestMain(m)
}

func TestConformance(t *testing.T) {
	backendtest.Run(t, backendtest.Config{
		Open: func(t *testing.T) backend.Blobs { return openStore(t, Config{Dir: t.TempDir()}) },
		Reopen: func(t *testing.T, b backend.Blobs) backend.Blobs {
			return openStore(t, Config{Dir: b.(*Store).root.Name()})
		},
		Residue: func(t *testing.T, b backend.Blobs) []string {
			return residue(t, b.(*Store).root.Name())
		},
	})
}

// openStore opens a store and closes it with the test.
func openStore(t testing.TB, cfg Config) *Store {
	t.Helper()
	if info, err := os.Stat(cfg.Dir); err == nil && info.Mode().Perm()&0o022 != 0 {
		t.Fatalf("%s is writable by others", cfg.Dir)
	}
	s, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// residue lists what in a store is neither an object nor a live session's lock:
// leftover files of sessions, bodies that no header file names, empty
// directories, and anything in a place where nothing belongs.
func residue(t testing.TB, dir string) []string {
	t.Helper()
	var left []string
	bodies := map[string]bool{}
	walk(t, dir, func(name string, d fs.DirEntry) {
		parts := strings.Split(name, "/")
		switch parts[0] {
		case workDir:
			if len(parts) > 2 {
				left = append(left, name)
			}
		case objectsDir:
			left = append(left, objectResidue(t, dir, name, d, bodies)...)
		}
	})
	walk(t, filepath.Join(dir, bodiesDir), func(name string, d fs.DirEntry) {
		if !d.IsDir() && !bodies[bodiesDir+"/"+name] {
			left = append(left, bodiesDir+"/"+name)
		}
	})
	return left
}

func objectResidue(t testing.TB, dir, name string, d fs.DirEntry, bodies map[string]bool) []string {
	if d.IsDir() {
		names, err := os.ReadDir(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if len(names) == 0 && name != objectsDir {
			return []string{name + "/"}
		}
		return nil
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	rec, err := parseHead(b[:min(len(b), maxHead)], int64(len(b)))
	if err != nil || !strings.HasSuffix(name, leafSuffix) {
		return []string{name}
	}
	if !rec.inline {
		bodies[rec.id.path()] = true
	}
	return nil
}

func walk(t testing.TB, dir string, visit func(name string, d fs.DirEntry)) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		visit(name, d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
