// Package examples_test runs the examples as a user would, against a real Vault.
package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atrest/atrest/internal/devvault"
)

func TestExamples(t *testing.T) {
	server := devvault.StartForTest(t)
	if err := server.EnableTransit(t.Context(), "transit"); err != nil {
		t.Fatal(err)
	}
	programs := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", programs+"/", "./...").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	large := filepath.Join(t.TempDir(), "a large file")
	if err := os.WriteFile(large, []byte(strings.Repeat("plaintext of some length\n", 200_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, example := range []struct {
		name string
		args []string
		want []string // in the output
	}{
		{"quickstart", nil, []string{"db/password: 13 bytes", "it reads: correct horse"}},
		{"stream", []string{large}, []string{"put  5000000 bytes", "the same: true"}},
		{"rotate", nil, []string{"2000 rewrapped to version 2", "0 objects still need an older version"}},
		{"demo", []string{large}, []string{
			"files: 1, bytes: 5000000", "the beginnings of 1 files were looked for", "compared: 1", "compared again: 1",
			"to version 2; headers rewrapped: 1", "authentication failed", "the other objects (0) are good",
		}},
	} {
		t.Run(example.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), filepath.Join(programs, example.name), example.args...)
			cmd.Dir = t.TempDir()
			cmd.Env = append(os.Environ(), "VAULT_ADDR="+server.Addr(), "VAULT_TOKEN="+server.RootToken())
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, want := range example.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("%q is missing in the output:\n%s", want, out)
				}
			}
		})
	}
}
