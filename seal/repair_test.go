package seal

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/internal/vaultclient"
)

// TestRecover takes a new machine, with the wrong database and with the right one.
func TestRecover(t *testing.T) {
	t.Parallel()
	vault, records := bareVault(t), memory.NewRecords()
	if err := newNode(t, vault, memory.NewRecords()).Recover(t.Context(), []byte(testPassword)); !errors.Is(err, atrest.ErrRecordMissing) {
		t.Errorf("Recover with an empty database = %v", err)
	}
	m := newNode(t, vault, records)
	if s, err := m.sealStatus(t.Context()); err != nil || s.Initialized {
		t.Fatalf("Recover has initialised Vault: %v", err)
	}
	mustBoot(t, m, testPassword)
	other := newNode(t, vault, records)
	if err := other.Recover(t.Context(), []byte("not the password at all")); !errors.Is(err, atrest.ErrWrongPassword) {
		t.Errorf("Recover with a wrong password = %v", err)
	}
	if err := other.Recover(t.Context(), []byte(testPassword)); err != nil {
		t.Fatal(err)
	}
	wantService(t, other)
	for _, none := range [][]byte{nil, {}} {
		if err := other.Boot(t.Context(), none); err != nil {
			t.Errorf("Boot with the password on disk = %v", err)
		}
	}
}

// TestSetUpIsRepaired takes away, one after the other, parts of what set-up has made.
func TestSetUpIsRepaired(t *testing.T) {
	t.Parallel()
	m := newNode(t, bareVault(t), memory.NewRecords())
	mustBoot(t, m, testPassword)
	remove := func(path string) {
		t.Helper()
		err := m.asRoot(t.Context(), "test", func(ctx context.Context, root *vaultclient.Client) error {
			_, _, err := vaultclient.Do[struct{}](ctx, root, vaultclient.Request{Method: http.MethodDelete, Path: path})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	remove("sys/policies/acl/atrest")
	mustBoot(t, m, "")
	wantService(t, m)
	for _, path := range []string{m.rolePath(), "sys/auth/" + m.cfg.AppRoleMount} {
		if path == m.rolePath() {
			loseToken(t, m) // which goes with the engine, but not with the role
		}
		remove(path)
		if err := m.Boot(t.Context(), nil); !errors.Is(err, atrest.ErrPermission) {
			t.Fatalf("Boot without %s = %v", path, err)
		}
		if err := m.RotateSecretID(t.Context()); err != nil {
			t.Fatalf("RotateSecretID without %s: %v", path, err)
		}
		mustBoot(t, m, "")
		wantService(t, m)
	}
}
