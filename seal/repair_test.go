package seal

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
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

// TestRoleIsRepaired has somebody give the role other policies. Boot adds the service's, and
// leaves the others, and what was added to the policy itself.
func TestRoleIsRepaired(t *testing.T) {
	t.Parallel()
	m := newNode(t, bareVault(t), memory.NewRecords())
	mustBoot(t, m, testPassword)
	const site = `path "site/*" { capabilities = ["read"] }`
	err := m.asRoot(t.Context(), "test", func(ctx context.Context, root *vaultclient.Client) error {
		return errors.Join(
			m.write(ctx, root, "sys/policies/acl/atrest", map[string]string{"policy": site}),
			m.write(ctx, root, m.rolePath(), map[string]any{"token_policies": []string{"site"}, "token_period": "1h"}))
	})
	if err != nil {
		t.Fatal(err)
	}
	loseToken(t, m)
	mustBoot(t, m, "")
	wantService(t, m)
	err = m.asRoot(t.Context(), "test", func(ctx context.Context, root *vaultclient.Client) error {
		role, _, err := vaultclient.Do[vaultclient.Data[map[string]any]](ctx, root, vaultclient.Request{Method: http.MethodGet, Path: m.rolePath()})
		if err != nil {
			return err
		}
		if got := fmt.Sprint((*role.Data)["token_policies"], (*role.Data)["token_period"]); got != "[site atrest] 3600" {
			t.Errorf("the role has %s", got)
		}
		policy, _, err := vaultclient.Do[vaultclient.Data[map[string]any]](ctx, root, vaultclient.Request{Method: http.MethodGet, Path: "sys/policies/acl/atrest"})
		if err == nil && !strings.Contains(fmt.Sprint((*policy.Data)["policy"]), site) {
			t.Errorf("the policy is %v", *policy.Data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestOtherNames has a node be configured otherwise than the rest. That is its own trouble.
func TestOtherNames(t *testing.T) {
	t.Parallel()
	vault, records := bareVault(t), memory.NewRecords()
	m := newNode(t, vault, records)
	mustBoot(t, m, testPassword)
	for what, test := range map[string]struct {
		change func(*Config)
		want   error
	}{
		"key":   {func(c *Config) { c.Key = "atrst" }, atrest.ErrKeyNotFound},
		"mount": {func(c *Config) { c.Mount = "transitt" }, atrest.ErrKeyNotFound},
		"role":  {func(c *Config) { c.RoleName, c.Key = "atrst", "atrst" }, atrest.ErrPermission},
	} {
		other := newNode(t, vault, records, test.change)
		if err := other.Boot(t.Context(), []byte(testPassword)); !errors.Is(err, test.want) {
			t.Errorf("another %s: %v", what, err)
		}
		wantService(t, m)
	}
	other := newNode(t, vault, records, func(c *Config) { c.RoleName = "atrst" })
	mustBoot(t, other, testPassword)
	if err := other.RotateSecretID(t.Context()); !errors.Is(err, atrest.ErrConflict) {
		t.Errorf("RotateSecretID of another role = %v", err)
	}
}
