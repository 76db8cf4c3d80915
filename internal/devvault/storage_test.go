package devvault

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRestartKeepsStoredData(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), StartForTest(t, Options{StorageDir: t.TempDir()})
	newTransitKey(ctx, t, s)
	client := rootClient(t, s)
	ciphertext := encrypt(ctx, t, client)
	address := s.Addr()
	if err := s.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if s.Addr() != address {
		t.Errorf("address changed from %s to %s", address, s.Addr())
	}
	checkDecrypts(ctx, t, client, ciphertext)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	checkDecrypts(ctx, t, client, ciphertext)
}

func TestRestartInMemoryLosesData(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), StartForTest(t)
	newTransitKey(ctx, t, s)
	address, token := s.Addr(), s.RootToken()
	if err := s.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if s.Addr() != address || s.RootToken() == token {
		t.Errorf("after a restart: address %s (was %s), same token: %t", s.Addr(), address, s.RootToken() == token)
	}
	mounts, err := rootClient(t, s).Sys().ListMountsWithContext(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := mounts["transit/"]; ok {
		t.Error("transit survived in memory")
	}
}

func TestSecondServerOnSameDirectory(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), filepath.Join(t.TempDir(), "new", "vault")
	first := StartForTest(t, Options{StorageDir: dir})
	newTransitKey(ctx, t, first)
	ciphertext := encrypt(ctx, t, rootClient(t, first))
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, initFile))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %v, want 0600", initFile, info.Mode().Perm())
	}
	second := StartForTest(t, Options{StorageDir: dir})
	if second.RootToken() != first.RootToken() {
		t.Error("the root token changed")
	}
	checkDecrypts(ctx, t, rootClient(t, second), ciphertext)
}

// TestUnusableKeyFile checks that each way of losing the unseal key ends in an
// error that says what to do.
func TestUnusableKeyFile(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spoil func(path string) error
		want  string
	}{
		"missing": {os.Remove, "put the file back, or delete the directory"},
		"damaged": {func(path string) error { return os.WriteFile(path, []byte("{"), 0o600) }, "is damaged"},
		"other key": {
			func(path string) error {
				key := strings.Repeat("A", 43) + "="
				return os.WriteFile(path, []byte(`{"unseal_key":"`+key+`","root_token":"x"}`), 0o600)
			},
			"if it belongs to other data",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := StartForTest(t, Options{StorageDir: dir})
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
			if err := test.spoil(filepath.Join(dir, initFile)); err != nil {
				t.Fatal(err)
			}
			again, err := Start(t.Context(), Options{StorageDir: dir})
			if err == nil {
				t.Fatal("started", again.Addr(), again.Stop())
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want one with %q", err, test.want)
			}
		})
	}
}
