package transit_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/transit"
)

// limited returns a client with a token of the given policy alone.
func limited(t *testing.T, policy string) *api.Client {
	t.Helper()
	token, err := shared.Token(t.Context(), policy)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := clientAt(t, shared.Addr(), token)
	return c
}

// leastPolicy is the policy of the package documentation.
func leastPolicy(key string) string {
	return strings.NewReplacer("MOUNT", "transit", "NAME", key).Replace(`
		path "MOUNT/keys/NAME"    { capabilities = ["read"] }
		path "MOUNT/encrypt/NAME" { capabilities = ["update"] }
		path "MOUNT/decrypt/NAME" { capabilities = ["update"] }
		path "MOUNT/rewrap/NAME"  { capabilities = ["update"] }`)
}

func TestOpenMissingKeyIsNotCreated(t *testing.T) {
	c, wire := rootClient(t)
	for remedy, cfg := range map[string]transit.Config{
		"CreateKey":            {Key: newName()},
		"vault secrets enable": {Mount: "nowhere/transit", Key: newName()},
	} {
		cfg.Client = c
		_, err := transit.Open(t.Context(), cfg)
		checkError(t, err, atrest.ErrKeyNotFound)
		if !strings.Contains(err.Error(), remedy) {
			t.Errorf("no remedy: %v", err)
		}
		if s, err := c.Logical().Read("transit/keys/" + cfg.Key); err != nil || s != nil {
			t.Errorf("the key is there now: %v, %v", s, err)
		}
	}
	if n := wire.count(); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
}

func TestOpenCreatesKey(t *testing.T) {
	c, wire := rootClient(t)
	key := newName()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { open(t, transit.Config{Client: c, Key: key, CreateKey: true}) })
	}
	wg.Wait()
	w := open(t, transit.Config{Client: c, Key: key})
	dataKey := newDataKey()
	checkUnwrap(t, w, wrap(t, w, dataKey, "here"), "here", dataKey)
	wire.count()
	open(t, transit.Config{Client: c, Key: key, CreateKey: true})
	if n := wire.count(); n != 1 {
		t.Errorf("opening an existing key took %d requests", n)
	}
}

func TestOpenUnfitKeys(t *testing.T) {
	c, _ := rootClient(t)
	for _, x := range []struct {
		settings map[string]any
		want     error
	}{
		{nil, atrest.ErrKeyNotDerived},
		{map[string]any{"type": "rsa-2048"}, atrest.ErrKeyNotDerived},
		{map[string]any{"type": "ed25519", "derived": true}, atrest.ErrUnsupported},
		{map[string]any{"type": "hmac", "key_size": 32}, atrest.ErrUnsupported},
	} {
		for _, create := range []bool{false, true} {
			_, err := transit.Open(t.Context(), transit.Config{Client: c, Key: newKey(t, x.settings), CreateKey: create})
			checkError(t, err, x.want)
		}
	}
}

func TestOpenWarns(t *testing.T) {
	c, _ := rootClient(t)
	key := newKey(t, map[string]any{"derived": true, "exportable": true, "allow_plaintext_backup": true})
	write(t, "transit/keys/"+key+"/config", map[string]any{"deletion_allowed": true})
	var log strings.Builder
	open(t, transit.Config{Client: c, Key: key, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for _, want := range []string{"exportable", "plaintext backup", "deleted", key} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no warning of %q: %s", want, log.String())
		}
	}
}

func TestOpenBadConfig(t *testing.T) {
	c, wire := rootClient(t)
	for _, cfg := range []transit.Config{
		{Key: "k"},
		{Client: c},
		{Client: c, Key: "a/b"},
		{Client: c, Key: ".."},
		{Client: c, Key: "k?x=y"},
		{Client: c, Key: "k", Mount: "/transit"},
		{Client: c, Key: "k", Mount: "transit/"},
		{Client: c, Key: "k", Mount: "a/../sys"},
		{Client: c, Key: "k", Mount: "a#b"},
		{Client: c, Key: "k", MaxBatch: 1001},
		{Client: c, Key: "k", MaxBatch: -1},
		{Client: c, Key: "k", RequestTimeout: -1},
		{Client: c, Key: "k", MaxTries: -1},
	} {
		if _, err := transit.Open(t.Context(), cfg); err == nil {
			t.Errorf("opened with mount %q, key %q", cfg.Mount, cfg.Key)
		}
	}
	if n := wire.count(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestLeastPolicySuffices(t *testing.T) {
	key := derivedKey(t)
	w := open(t, transit.Config{Client: limited(t, leastPolicy(key)), Key: key})
	dataKey := newDataKey()
	wrapped := wrap(t, w, dataKey, "here")
	checkUnwrap(t, w, wrapped, "here", dataKey)
	if _, errs := w.RewrapBatch(t.Context(), []string{wrapped}, [][]byte{[]byte("here")}); errs[0] != nil {
		t.Error(errs[0])
	}
	err := w.Rotate(t.Context())
	checkError(t, err, atrest.ErrPermission)
	if !strings.Contains(err.Error(), `"update" on "transit/keys/`+key+`/rotate"`) {
		t.Errorf("says not what is needed: %v", err)
	}
}

func TestCreatePolicySuffices(t *testing.T) {
	key := newName()
	c := limited(t, `path "transit/keys/`+key+`" { capabilities = ["read", "create", "update"] }`)
	w := open(t, transit.Config{Client: c, Key: key, CreateKey: true})
	_, err := w.Wrap(t.Context(), newDataKey(), []byte("here"))
	checkError(t, err, atrest.ErrPermission)
	if !strings.Contains(err.Error(), `"update" on "transit/encrypt/`+key+`"`) {
		t.Errorf("says not what is needed: %v", err)
	}
}

func TestOpenWithoutPermission(t *testing.T) {
	_, err := transit.Open(t.Context(), transit.Config{Client: limited(t, `path "other/*" { capabilities = ["read"] }`), Key: derivedKey(t)})
	checkError(t, err, atrest.ErrPermission)
	key := newName()
	c := limited(t, `path "transit/keys/`+key+`" { capabilities = ["read"] }`)
	_, err = transit.Open(t.Context(), transit.Config{Client: c, Key: key, CreateKey: true})
	checkError(t, err, atrest.ErrPermission)
}

// A key that is deleted while in use is missed, whatever the policy, and does
// not come back as another one.
func TestDeletedKeyIsNotCreatedAnew(t *testing.T) {
	for name, client := range map[string]func(key string) *api.Client{
		"root":  func(string) *api.Client { c, _ := rootClient(t); return c },
		"least": func(key string) *api.Client { return limited(t, leastPolicy(key)) },
		"create": func(key string) *api.Client {
			return limited(t, strings.ReplaceAll(leastPolicy(key), `"update"`, `"create", "update"`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			key := derivedKey(t)
			w := open(t, transit.Config{Client: client(key), Key: key})
			wrapped := wrap(t, w, newDataKey(), "here")
			write(t, "transit/keys/"+key+"/config", map[string]any{"deletion_allowed": true})
			root, _ := rootClient(t)
			if _, err := root.Logical().Delete("transit/keys/" + key); err != nil {
				t.Fatal(err)
			}
			_, err := w.Wrap(t.Context(), newDataKey(), []byte("here"))
			checkError(t, err, atrest.ErrKeyNotFound)
			_, err = w.Unwrap(t.Context(), wrapped, []byte("here"))
			checkError(t, err, atrest.ErrKeyNotFound)
			_, errs := w.RewrapBatch(t.Context(), []string{wrapped}, [][]byte{[]byte("here")})
			checkError(t, errs[0], atrest.ErrKeyNotFound)
			_, err = w.LatestVersion(t.Context())
			checkError(t, err, atrest.ErrKeyNotFound)
			if name == "root" {
				checkError(t, w.Rotate(t.Context()), atrest.ErrKeyNotFound)
			}
			if s, err := root.Logical().Read("transit/keys/" + key); err != nil || s != nil {
				t.Errorf("the key is there again: %v, %v", s, err)
			}
		})
	}
}
