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
			"1 files, 5000000 bytes", "none of 1 pieces of plaintext", "all 1 files are what they were",
			"to version 2; 1 headers rewrapped", "authentication failed", "the other 0 objects are good",
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
