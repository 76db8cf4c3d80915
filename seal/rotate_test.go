package seal

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/internal/vaultclient"
	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
)

// TestPasswordOnTwoNodes changes the password on one node; the other one is told, and
// goes on with the new one.
func TestPasswordOnTwoNodes(t *testing.T) {
	t.Parallel()
	vault, records := bareVault(t), memory.NewRecords()
	one, two := newNode(t, vault, records), newNode(t, vault, records)
	mustBoot(t, one, testPassword)
	mustBoot(t, two, testPassword)
	backup, err := records.GetRecord(t.Context(), sealRecordName)
	if err != nil {
		t.Fatal(err)
	}
	const next = "another password altogether"
	if err := one.ChangePassword(t.Context(), []byte("too short")); !errors.Is(err, atrest.ErrWeakPassword) {
		t.Errorf("a short one: %v", err)
	}
	if err := one.ChangePassword(t.Context(), []byte(next)); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() error{
		"boot":   func() error { return two.Boot(t.Context(), nil) },
		"rekey":  func() error { return two.Rekey(t.Context(), 1, 1) },
		"unseal": func() error { return two.unsealNow(t.Context()) },
	} {
		if err := f(); !errors.Is(err, atrest.ErrStalePassword) {
			t.Errorf("%s with the old one: %v", name, err)
		}
	}
	wantService(t, two)
	if err := two.Adopt(t.Context(), []byte(testPassword)); !errors.Is(err, atrest.ErrWrongPassword) {
		t.Errorf("adopting the old one: %v", err)
	}
	if err := two.Adopt(t.Context(), []byte(next)); err != nil {
		t.Fatal(err)
	}
	mustBoot(t, two, "")
	wantService(t, two)

	// The old password still opens a backup of that time.
	restored := memory.NewRecords()
	if _, err := restored.PutRecord(t.Context(), sealRecordName, backup.Data, ""); err != nil {
		t.Fatal(err)
	}
	three := newNode(t, vault, restored)
	if err := three.Boot(t.Context(), []byte(next)); !errors.Is(err, atrest.ErrWrongPassword) {
		t.Errorf("the new password on an old backup: %v", err)
	}
	mustBoot(t, three, testPassword)
}

// TestSecretIDOnTwoNodes changes the secret id on one node. The other one's token ends, and
// it logs in by the new one.
func TestSecretIDOnTwoNodes(t *testing.T) {
	t.Parallel()
	vault, records := bareVault(t), memory.NewRecords()
	one, two := newNode(t, vault, records), newNode(t, vault, records)
	mustBoot(t, one, testPassword)
	mustBoot(t, two, testPassword)
	if err := one.RotateSecretID(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := two.withToken([]byte(two.session.currentToken()))
	if _, _, err := vaultclient.Do[struct{}](t.Context(), c, vaultclient.Request{Method: http.MethodPut, Path: "auth/token/revoke-self"}); err != nil {
		t.Fatal(err)
	}
	wantService(t, two)
	wantService(t, one)
}

func TestChangeInstanceKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	place, next := filepath.Join(dir, "key"), filepath.Join(dir, "key.next")
	for _, path := range []string{place, next} {
		if err := CreateKeyFile(path); err != nil {
			t.Fatal(err)
		}
	}
	m := newNode(t, bareVault(t), memory.NewRecords(), func(c *Config) { c.InstanceKey = KeyFile(place) })
	mustBoot(t, m, testPassword)
	dies := errors.New("it dies")
	if err := m.ChangeInstanceKey(t.Context(), KeyFile(next), func(context.Context) error { return dies }); !errors.Is(err, dies) {
		t.Fatal(err)
	}
	mustBoot(t, m, "") // by the old key
	if err := m.ChangeInstanceKey(t.Context(), KeyFile(next), func(context.Context) error { return nil }); !errors.Is(err, atrest.ErrWrongInstanceKey) {
		t.Fatalf("install did nothing: %v", err)
	}
	if err := os.Rename(next, place); err != nil { // as one that died right after
		t.Fatal(err)
	}
	mustBoot(t, m, "")
	if err := CreateKeyFile(next); err != nil {
		t.Fatal(err)
	}
	if err := m.ChangeInstanceKey(t.Context(), KeyFile(next), func(context.Context) error { return os.Rename(next, place) }); err != nil {
		t.Fatal(err)
	}
	mustBoot(t, m, "")
	if f, err := m.readLocal(t.Context()); err != nil || f.lines != 1 {
		t.Errorf("%d keys open the password file, %v", f.lines, err)
	}
	// Without the key it takes the password, and nothing else is lost.
	if err := os.Remove(place); err != nil {
		t.Fatal(err)
	}
	if err := CreateKeyFile(place); err != nil {
		t.Fatal(err)
	}
	if err := m.Boot(t.Context(), nil); !errors.Is(err, atrest.ErrWrongInstanceKey) {
		t.Errorf("another instance key: %v", err)
	}
	mustBoot(t, m, testPassword)
	mustBoot(t, m, "")
}

func TestTransitKey(t *testing.T) {
	t.Parallel()
	m := newNode(t, bareVault(t), memory.NewRecords())
	mustBoot(t, m, testPassword)
	client, err := m.Client()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := transit.Open(t.Context(), transit.Config{Client: client, Key: "atrest"})
	if err != nil {
		t.Fatal(err)
	}
	store, err := storage.New(storage.Config{ID: "test", Backend: memory.New(), Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.PutBytes(t.Context(), "name", []byte("content"), nil); err != nil {
		t.Fatal(err)
	}
	if version, err := m.RotateTransitKey(t.Context()); err != nil || version != 2 {
		t.Fatalf("%d, %v", version, err)
	}
	if err := m.RetireTransitKey(t.Context(), 0, store); !errors.Is(err, atrest.ErrConflict) {
		t.Errorf("before the rewrap: %v", err)
	}
	if err := m.RetireTransitKey(t.Context(), 0); err == nil {
		t.Error("without a store")
	}
	if _, _, err := store.GetBytes(t.Context(), "name"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Rewrap(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := m.RetireTransitKey(t.Context(), 3, store); !errors.Is(err, atrest.ErrUnsupported) {
		t.Errorf("a version that is not there: %v", err)
	}
	if err := m.RetireTransitKey(t.Context(), 0, store); err != nil {
		t.Fatal(err)
	}
	if err := m.RetireTransitKey(t.Context(), 1, store); !errors.Is(err, atrest.ErrUnsupported) {
		t.Errorf("versions were brought back: %v", err)
	}
	if got, _, err := store.GetBytes(t.Context(), "name"); err != nil || string(got) != "content" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestLoginAgain revokes the service's token: its client logs in anew, unnoticed.
func TestLoginAgain(t *testing.T) {
	t.Parallel()
	vault := bareVault(t)
	m := newNode(t, vault, memory.NewRecords())
	mustBoot(t, m, testPassword)
	for range 3 {
		token := m.session.currentToken()
		c := m.withToken([]byte(token))
		if _, _, err := vaultclient.Do[struct{}](t.Context(), c, vaultclient.Request{Method: http.MethodPut, Path: "auth/token/revoke-self"}); err != nil {
			t.Fatal(err)
		}
		wantService(t, m)
		if m.session.currentToken() == token {
			t.Error("the token is the old one")
		}
	}
	// What the policy does not allow stays forbidden, and costs no new token.
	token := m.session.currentToken()
	client, err := m.Client()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Logical().ReadWithContext(t.Context(), "sys/policies/acl/root"); err == nil {
		t.Error("a service may read policies")
	}
	if m.session.currentToken() != token {
		t.Error("a refusal made it log in anew")
	}
}
