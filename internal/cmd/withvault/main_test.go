//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atrest/atrest/internal/beside/besidetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	besidetest.BeProgram(main)
	goleak.VerifyTestMain(m)
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	got := besidetest.Run(t, []string{"VAULT_NAMESPACE=elsewhere", "VAULT_ADDR=http://elsewhere"},
		"--", "sh", "-c", `echo "$VAULT_ADDR ${VAULT_TOKEN:+token} ns=$VAULT_NAMESPACE"; exit 7`)
	if got.Code != 7 {
		t.Errorf("exit code %d, want the command's 7", got.Code)
	}
	if !strings.HasPrefix(got.Stdout, "http://127.0.0.1:") || !strings.HasSuffix(got.Stdout, " token ns=\n") {
		t.Errorf("the command saw %q", got.Stdout)
	}
	if !strings.Contains(got.Stderr, "withvault: Vault with transit/ at http://127.0.0.1:") {
		t.Errorf("stderr = %q", got.Stderr)
	}
}

func TestStorageSurvives(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "vault")
	printToken := []string{"-quiet", "-storage", dir, "--", "sh", "-c", "echo $VAULT_TOKEN"}
	first, second := besidetest.Run(t, nil, printToken...), besidetest.Run(t, nil, printToken...)
	if first.Code != 0 || second != first || strings.TrimSpace(first.Stdout) == "" {
		t.Errorf("runs on one directory: codes %d and %d, same token: %t, stderr %q",
			first.Code, second.Code, first.Stdout == second.Stdout, second.Stderr)
	}
	if err := os.Remove(filepath.Join(dir, "dev-init.json")); err != nil {
		t.Fatal(err)
	}
	third := besidetest.Run(t, nil, printToken...)
	if third.Code != 125 || !strings.Contains(third.Stderr, "delete the directory") {
		t.Errorf("without the key: %+v, want the remedy", third)
	}
}

func TestVaultDoesNotStart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := besidetest.Run(t, nil, "-storage", file, "--", "true"); got.Code != 125 || !strings.Contains(got.Stderr, file) {
		t.Errorf("got %+v, want code 125 and the reason", got)
	}
}
