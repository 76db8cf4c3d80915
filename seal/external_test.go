package seal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/internal/devvault"
	"github.com/atrest/atrest/transit"
)

// An administrator runs an external Vault.
type administrator struct {
	*devvault.Server
	*api.Client
}

func externalVault(t *testing.T) administrator {
	t.Helper()
	server := devvault.StartForTest(t)
	if err := server.EnableTransit(t.Context(), "transit"); err != nil {
		t.Fatal(err)
	}
	client, err := server.Client()
	if err != nil {
		t.Fatal(err)
	}
	return administrator{server, client}
}

func (a administrator) write(t *testing.T, path string, data map[string]any) *api.Secret {
	t.Helper()
	s, err := a.Logical().WriteWithContext(t.Context(), path, data)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// appRole makes a role with a policy.
func (a administrator) appRole(t *testing.T, name, policy string) Login {
	t.Helper()
	if err := a.Sys().EnableAuthWithOptionsWithContext(t.Context(), "approle", &api.EnableAuthOptions{Type: "approle"}); err != nil && !strings.Contains(err.Error(), "in use") {
		t.Fatal(err)
	}
	a.write(t, "sys/policies/acl/"+name, map[string]any{"policy": policy})
	a.write(t, "auth/approle/role/"+name, map[string]any{"token_policies": name, "token_period": "24h"})
	id, err := a.Logical().ReadWithContext(t.Context(), "auth/approle/role/"+name+"/role-id")
	if err != nil {
		t.Fatal(err)
	}
	secret := a.write(t, "auth/approle/role/"+name+"/secret-id", nil)
	return AppRole("", []byte(id.Data["role_id"].(string)), []byte(secret.Data["secret_id"].(string)))
}

// open opens it without the administrator's token.
func (a administrator) open(t *testing.T, cfg ExternalConfig) (*External, error) {
	t.Helper()
	client, err := a.Server.Client()
	if err != nil {
		t.Fatal(err)
	}
	client.ClearToken()
	cfg.Vault = client
	x, err := OpenExternal(t.Context(), cfg)
	if err == nil {
		t.Cleanup(x.Close)
	}
	return x, err
}

func wantExternal(t *testing.T, x *External, key string) {
	t.Helper()
	client, err := x.Client()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := transit.Open(t.Context(), transit.Config{Client: client, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Wrap(t.Context(), []byte("data key"), []byte("context")); err != nil {
		t.Fatal(err)
	}
}

func TestExternal(t *testing.T) {
	t.Parallel()
	a := externalVault(t)
	login := func(policy string) Login { return a.appRole(t, "service", policy) }
	if _, err := a.open(t, ExternalConfig{Login: AppRole("", []byte("no"), []byte("such"))}); !errors.Is(err, atrest.ErrPermission) && !errors.Is(err, atrest.ErrVaultUnavailable) {
		t.Errorf("wrong credentials: %v", err)
	}
	good := login(ExternalPolicy("transit", "atrest"))
	if _, err := a.open(t, ExternalConfig{Login: good}); !errors.Is(err, atrest.ErrKeyNotFound) {
		t.Errorf("no transit key: %v", err)
	}
	a.write(t, "transit/keys/plain", nil)
	if _, err := a.open(t, ExternalConfig{Login: login(Policy("transit", "plain")), Key: "plain"}); !errors.Is(err, atrest.ErrKeyNotDerived) {
		t.Errorf("a key that is not derived: %v", err)
	}
	a.write(t, "transit/keys/atrest", map[string]any{"derived": true})
	_, err := a.open(t, ExternalConfig{Login: login(`path "transit/keys/atrest" { capabilities = ["read"] }`), Records: memory.NewRecords()})
	if !errors.Is(err, atrest.ErrPermission) {
		t.Errorf("a narrow policy: %v", err)
	}
	for _, lacks := range []string{"transit/encrypt/atrest", "transit/decrypt/atrest", "transit/rewrap/atrest", `"list" on "transit/keys"`, `"create" on "transit/keys/atrest-installation-*"`} {
		if !strings.Contains(fmt.Sprint(err), lacks) {
			t.Errorf("%s is missing, and the error does not say so: %v", lacks, err)
		}
	}
	// A login that has failed may be used again.
	again := ExternalConfig{Login: login(Policy("transit", "later")), Key: "later"}
	if _, err := a.open(t, again); !errors.Is(err, atrest.ErrKeyNotFound) {
		t.Errorf("a key that is not there yet: %v", err)
	}
	a.write(t, "transit/keys/later", map[string]any{"derived": true})
	if _, err := a.open(t, again); err != nil {
		t.Errorf("the second try: %v", err)
	}
	x, err := a.open(t, ExternalConfig{Login: login(Policy("transit", "atrest"))})
	if err != nil {
		t.Fatal(err)
	}
	wantExternal(t, x, "atrest")
}

// TestExternalTokens logs in by tokens that somebody else has made.
func TestExternalTokens(t *testing.T) {
	t.Parallel()
	a := externalVault(t)
	a.write(t, "transit/keys/atrest", map[string]any{"derived": true})
	token := func() string {
		text, err := a.Server.Token(t.Context(), Policy("transit", "atrest"))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	fixed := token()
	x, err := a.open(t, ExternalConfig{Login: Token([]byte(fixed))})
	if err != nil {
		t.Fatal(err)
	}
	wantExternal(t, x, "atrest")
	x.Close()
	if again, err := a.open(t, ExternalConfig{Login: Token([]byte(fixed))}); err != nil {
		t.Errorf("Close has revoked a token that it was given: %v", err)
	} else {
		wantExternal(t, again, "atrest")
	}

	path := filepath.Join(t.TempDir(), "token")
	if _, err := a.open(t, ExternalConfig{Login: TokenFile(path)}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	first := token()
	if err := os.WriteFile(path, []byte(first+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if x, err = a.open(t, ExternalConfig{Login: TokenFile(path)}); err != nil {
		t.Fatal(err)
	}
	wantExternal(t, x, "atrest")
	// An agent replaces the token, and the old one ends.
	if err := os.WriteFile(path, []byte(token()), 0o600); err != nil {
		t.Fatal(err)
	}
	a.write(t, "auth/token/revoke", map[string]any{"token": first})
	wantExternal(t, x, "atrest")
	for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(form, []any{x, Token([]byte(fixed)), ExternalConfig{Login: Token([]byte(fixed))}}); strings.Contains(text, fixed) {
			t.Errorf("%s shows the token: %s", form, text)
		}
	}
}

// TestTwoInstallations have one transit key by accident.
func TestTwoInstallations(t *testing.T) {
	t.Parallel()
	a := externalVault(t)
	for _, key := range []string{"atrest", "other"} {
		a.write(t, "transit/keys/"+key, map[string]any{"derived": true})
	}
	login := func(key string) Login { return a.appRole(t, key, ExternalPolicy("transit", key)) }
	one, two := memory.NewRecords(), memory.NewRecords()
	for range 2 { // a second node, or a second start
		if _, err := a.open(t, ExternalConfig{Login: login("atrest"), Records: one}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.open(t, ExternalConfig{Login: login("atrest"), Records: two}); !errors.Is(err, atrest.ErrOtherInstallation) {
		t.Errorf("the key of another installation: %v", err)
	}
	if _, err := a.open(t, ExternalConfig{Login: login("other"), Key: "other", Records: two}); err != nil {
		t.Error(err)
	}
	if _, err := a.open(t, ExternalConfig{Login: login("atrest"), Records: one}); err != nil {
		t.Error(err)
	}
}

// TestInstallationsRace has many installations want one key at once: one gets it.
func TestInstallationsRace(t *testing.T) {
	t.Parallel()
	a := externalVault(t)
	a.write(t, "transit/keys/atrest", map[string]any{"derived": true})
	var mu sync.Mutex
	var won []*memory.Records
	var wg sync.WaitGroup
	for range 8 {
		login := a.appRole(t, "service", ExternalPolicy("transit", "atrest"))
		wg.Go(func() {
			records := memory.NewRecords()
			_, err := a.open(t, ExternalConfig{Login: login, Records: records})
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				won = append(won, records)
			} else if !errors.Is(err, atrest.ErrOtherInstallation) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d installations have one key", len(won))
	}
	if _, err := a.open(t, ExternalConfig{Login: a.appRole(t, "service", ExternalPolicy("transit", "atrest")), Records: won[0]}); err != nil {
		t.Errorf("it does not keep it: %v", err)
	}
}
