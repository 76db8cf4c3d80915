package devvault

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/atrest/atrest/internal/child"
)

func TestBinaryFromVariable(t *testing.T) {
	root, err := child.RepositoryRoot()
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "bao")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(script))
	relative, err := filepath.Rel(root, script)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{script, "bao", relative} {
		t.Setenv(binaryVariable, value)
		got, err := Binary()
		if err != nil || got != script {
			t.Errorf("%s=%s: Binary = %q, %v, want %q", binaryVariable, value, got, err, script)
		}
	}
	t.Setenv(binaryVariable, "no/such/vault")
	if _, err := Binary(); !errors.Is(err, ErrNoBinary) || !strings.Contains(err.Error(), binaryVariable) {
		t.Errorf("missing binary: %v, want %v and the variable's name", err, ErrNoBinary)
	}
}

// TestBinaryOfRepository looks for the server from a made-up repository: from a
// deep directory, past the go.mod of another module.
func TestBinaryOfRepository(t *testing.T) {
	t.Setenv(binaryVariable, "")
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	inner := filepath.Join(root, "dev", "vault")
	if err := os.MkdirAll(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(inner)
	if _, err := Binary(); !errors.Is(err, ErrNoBinary) || !strings.Contains(err.Error(), "outside the repository") {
		t.Errorf("outside: %v", err)
	}
	writeModule(t, root, "github.com/atrest/atrest")
	writeModule(t, inner, "github.com/atrest/atrest/dev/vault")
	_, err = Binary()
	if !errors.Is(err, ErrNoBinary) || !strings.Contains(err.Error(), "make tools") {
		t.Errorf("not built: %v, want the remedy", err)
	}
	want := filepath.Join(root, "dev", "bin", "vault")
	if err := os.Mkdir(filepath.Dir(want), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(want, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := Binary(); err != nil || got != want {
		t.Errorf("Binary = %q, %v, want %q", got, err, want)
	}
}

func writeModule(t *testing.T, dir, path string) {
	t.Helper()
	text := fmt.Sprintf("// A comment.\nmodule %s\n", path)
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// failingTB records how a helper ended its test.
type failingTB struct {
	testing.TB
	fatal string
}

func (f *failingTB) Helper() {}

func (f *failingTB) Fatalf(format string, args ...any) {
	f.fatal = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestMissingBinaryFailsTest(t *testing.T) {
	t.Setenv(binaryVariable, "/no/such/vault")
	tb := &failingTB{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		StartForTest(tb)
	}()
	<-done
	if !strings.Contains(tb.fatal, "make tools") {
		t.Errorf("StartForTest ended with %q, want a failure that names the remedy", tb.fatal)
	}
}
