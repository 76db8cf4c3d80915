package transit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/transit"
)

func TestRoundTrip(t *testing.T) {
	w, wire, key := openNew(t)
	dataKey := newDataKey()
	wrapped := wrap(t, w, dataKey, "here")
	if n := wire.count(); n != 1 {
		t.Errorf("a lone Wrap took %d requests", n)
	}
	if !strings.HasPrefix(wrapped, "vault:v1:") {
		t.Errorf("wrapped is %q", wrapped)
	}
	checkUnwrap(t, w, wrapped, "here", dataKey)
	if n := wire.count(); n != 1 {
		t.Errorf("a lone Unwrap took %d requests", n)
	}
	if mount, name := w.Key(); mount != "transit" || name != key {
		t.Errorf("Key is %s, %s", mount, name)
	}
}

func TestAnotherContextOrKey(t *testing.T) {
	w, _, _ := openNew(t)
	other, _, _ := openNew(t)
	wrapped := wrap(t, w, newDataKey(), "here")
	_, err := w.Unwrap(t.Context(), wrapped, []byte("there"))
	checkError(t, err, atrest.ErrTampered)
	_, err = other.Unwrap(t.Context(), wrapped, []byte("here"))
	checkError(t, err, atrest.ErrTampered)
}

func TestTampered(t *testing.T) {
	w, wire, _ := openNew(t)
	wrapped := wrap(t, w, newDataKey(), "here")
	wire.count()
	flipped := []byte(wrapped)
	flipped[40] ^= 'a' ^ 'b'
	for name, s := range map[string]string{
		"flipped":  string(flipped),
		"version":  strings.Replace(wrapped, "v1", "v2", 1),
		"empty":    "",
		"newline":  wrapped + "\n",
		"cut":      wrapped[:len(wrapped)-1],
		"quote":    `vault:v1:","x":"`,
		"version0": strings.Replace(wrapped, "v1", "v0", 1),
	} {
		_, err := w.Unwrap(t.Context(), s, []byte("here"))
		checkError(t, err, atrest.ErrTampered)
		if s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("%s: the error shows the wrapped key", name)
		}
		if hint := strings.Contains(err.Error(), "older backup"); hint != (name == "version") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := wire.count(); n > 3 {
		t.Errorf("%d requests: what is malformed needs none", n)
	}
}

func TestSizes(t *testing.T) {
	w, wire, _ := openNew(t)
	for _, x := range []struct {
		dataKey, context int
		want             error
	}{{0, 1, nil}, {1, 0, nil}, {513, 1, atrest.ErrTooLarge}, {1, 1025, atrest.ErrTooLarge}} {
		_, err := w.Wrap(t.Context(), make([]byte, x.dataKey), make([]byte, x.context))
		if err == nil || x.want != nil && !errors.Is(err, x.want) {
			t.Errorf("sizes %d, %d: %v", x.dataKey, x.context, err)
		}
	}
	if n := wire.count(); n != 0 {
		t.Errorf("%d requests", n)
	}
	big := make([]byte, 512)
	checkUnwrap(t, w, wrap(t, w, big, strings.Repeat("c", 1024)), strings.Repeat("c", 1024), big)
}

func TestMinDecryptionVersion(t *testing.T) {
	w, _, key := openNew(t)
	dataKey := newDataKey()
	wrapped := wrap(t, w, dataKey, "here")
	if err := w.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkUnwrap(t, w, wrapped, "here", dataKey)
	write(t, "transit/keys/"+key+"/config", map[string]any{"min_decryption_version": 2})
	_, err := w.Unwrap(t.Context(), wrapped, []byte("here"))
	checkError(t, err, atrest.ErrKeyVersionTooOld)
	_, errs := w.RewrapBatch(t.Context(), []string{wrapped}, [][]byte{[]byte("here")})
	checkError(t, errs[0], atrest.ErrKeyVersionTooOld)
}

func TestRotate(t *testing.T) {
	w, wire, _ := openNew(t)
	for want := uint32(1); want < 4; want++ {
		if got, err := w.LatestVersion(t.Context()); err != nil || got != want {
			t.Fatalf("version %d, %v, want %d", got, err, want)
		}
		if err := w.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := wrap(t, w, newDataKey(), "here"); !strings.HasPrefix(s, fmt.Sprintf("vault:v%d:", want+1)) {
			t.Errorf("wrapped %.9s", s)
		}
	}
	if n := wire.count(); n != 9 {
		t.Errorf("%d requests, want 9", n)
	}
}

func TestTokenIsFollowed(t *testing.T) {
	c, _ := rootClient(t)
	w := open(t, transit.Config{Client: c, Key: derivedKey(t)})
	c.SetToken("expired")
	_, err := w.Wrap(t.Context(), newDataKey(), []byte("here"))
	checkError(t, err, atrest.ErrPermission)
	c.SetToken(shared.RootToken())
	wrap(t, w, newDataKey(), "here")
}

// The dev server is no Enterprise, which knows namespaces: see what is sent.
func TestClientSettingsAreKept(t *testing.T) {
	t.Setenv("VAULT_WRAP_TTL", "5m")
	c, wire := rootClient(t)
	c.AddHeader("X-Extra", "kept")
	w := open(t, transit.Config{Client: c, Key: derivedKey(t)})
	wrap(t, w, newDataKey(), "here")
	if h := wire.last.Load().Header; h.Get("X-Extra") != "kept" || h.Get("X-Vault-Wrap-Ttl") != "" || h.Get("X-Vault-Request") == "" {
		t.Errorf("headers are %v", h)
	}
	c.SetNamespace("team")
	transit.Open(t.Context(), transit.Config{Client: c, Key: "any"}) // this Vault may know the namespace or not
	if ns := wire.last.Load().Header.Get("X-Vault-Namespace"); ns != "team" {
		t.Errorf("the namespace sent is %q", ns)
	}
}

func TestEndedContext(t *testing.T) {
	w, wire, _ := openNew(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.Wrap(ctx, newDataKey(), []byte("here"))
	checkError(t, err, context.Canceled)
	_, err = w.LatestVersion(ctx)
	checkError(t, err, context.Canceled)
	_, errs := w.RewrapBatch(ctx, []string{"vault:v1:" + strings.Repeat("A", 40)}, [][]byte{[]byte("x")})
	checkError(t, errs[0], context.Canceled)
	checkError(t, w.Rotate(ctx), context.Canceled)
	if n := wire.count(); n > 3 {
		t.Errorf("%d requests", n)
	}
}

func TestPrintingShowsNoToken(t *testing.T) {
	c, _ := rootClient(t)
	cfg := transit.Config{Client: c, Key: derivedKey(t)}
	w := open(t, cfg)
	wrap(t, w, newDataKey(), "here")
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "w", w, "cfg", cfg)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "w", w, "cfg", cfg)
	texts := []string{log.String(), w.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%p"} {
		texts = append(texts, fmt.Sprintf(verb, w), fmt.Sprintf(verb, cfg), fmt.Sprintf(verb, &cfg),
			fmt.Sprintf(verb, []any{w, cfg}), fmt.Sprintf(verb, struct{ w *transit.Wrapper }{w}))
	}
	token := shared.RootToken()
	for _, s := range texts {
		if strings.Contains(s, token) || strings.Contains(s, fmt.Sprintf("%x", token)) {
			t.Errorf("shows the token: %s", s)
		}
	}
	if got := fmt.Sprintf("%+v", w); got != "transit key transit/"+cfg.Key {
		t.Errorf("prints as %q", got)
	}
}
