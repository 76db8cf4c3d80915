package vaultclient_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/devvault"
	"github.com/atrest/atrest/internal/vaultclient"
)

func TestMethods(t *testing.T) {
	c, wire := rootAt(t, shared, shared.Addr())
	name := newName()
	path := "sys/policies/acl/" + name
	put := func(method, text string) {
		t.Helper()
		do[anything](t, c, vaultclient.Request{Method: method, Path: path, Body: body(t, map[string]string{"policy": text})})
	}
	read := vaultclient.Request{Method: http.MethodGet, Path: path}
	type policy struct {
		Policy string `json:"policy"`
	}
	for _, method := range []string{http.MethodPut, http.MethodPost} {
		text := `path "x" { capabilities = ["read"] } # ` + method
		put(method, text)
		if got := wire.last.Load().Method; got != method {
			t.Errorf("sent %s, want %s", got, method)
		}
		if got := do[vaultclient.Data[policy]](t, c, read); got.Data.Policy != text {
			t.Errorf("policy is %q, want %q", got.Data.Policy, text)
		}
	}
	list := vaultclient.Request{Method: vaultclient.MethodList, Path: "sys/policies/acl"}
	if got := do[vaultclient.Data[keys]](t, c, list); !slices.Contains(got.Data.Keys, name) {
		t.Errorf("%q is not in %q", name, got.Data.Keys)
	}
	do[anything](t, c, vaultclient.Request{Method: http.MethodDelete, Path: path})
	fails(t, c, read, vaultclient.ErrNotFound)
	wire.count()
	for _, bad := range []vaultclient.Request{
		{Method: http.MethodPatch, Path: path}, {Path: path}, {Method: http.MethodGet},
		{Method: http.MethodGet, Path: "sys/../auth"}, {Method: http.MethodGet, Path: "sys/health?standbyok"},
	} {
		fails(t, c, bad, nil)
	}
	if n := wire.count(); n != 0 {
		t.Errorf("%d bad requests were sent", n)
	}
}

// An empty list is another thing than a path where nothing is mounted.
func TestListNothing(t *testing.T) {
	c, wire := rootAt(t, shared, shared.Addr())
	mount := newName()
	do[anything](t, c, vaultclient.Request{Method: http.MethodPost, Path: "sys/auth/" + mount, Body: body(t, map[string]string{"type": "approle"})})
	fails(t, c, vaultclient.Request{Method: vaultclient.MethodList, Path: "auth/" + mount + "/role"}, vaultclient.ErrNotFound)
	do[anything](t, c, vaultclient.Request{Method: http.MethodDelete, Path: "sys/auth/" + mount})
	wire.count()
	_, _, err := vaultclient.Do[anything](t.Context(), c, vaultclient.Request{Method: vaultclient.MethodList, Path: "auth/" + mount + "/role"})
	refused, ok := errors.AsType[*vaultclient.RefusedError](err)
	if !ok || refused.Status != http.StatusNotFound || !strings.Contains(refused.Text, "no handler for route") || errors.Is(err, vaultclient.ErrNotFound) {
		t.Errorf("nothing is mounted: %v", err)
	}
	if n := wire.count(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestWithToken(t *testing.T) {
	caller, wire := callerAt(t, shared.Addr(), shared.RootToken())
	caller.AddHeader("X-Vault-Token", "set as a header")
	c := newClient(t, vaultclient.Config{Client: caller})
	policy := vaultclient.Request{Method: http.MethodGet, Path: "sys/policies/acl/default", Capability: "read"}
	do[anything](t, c, policy)
	if wire.token() != shared.RootToken() {
		t.Error("not sent with the caller's token")
	}

	var token atomic.Value
	token.Store("")
	view := c.WithToken(func() string { return token.Load().(string) })
	err := fails(t, view, policy, atrest.ErrPermission)
	if got := wire.last.Load().Header["X-Vault-Token"]; len(got) != 0 || !strings.Contains(err.Error(), "log in") {
		t.Errorf("sent with token %q: %v", got, err)
	}
	limited, err := shared.Token(t.Context(), `path "secret/x" { capabilities = ["read"] }`)
	if err != nil {
		t.Fatal(err)
	}
	token.Store(limited)
	err = fails(t, view, policy, atrest.ErrPermission)
	if wire.token() != limited || !strings.Contains(err.Error(), `"read" on "sys/policies/acl/default"`) || strings.Contains(err.Error(), limited) {
		t.Errorf("sent with the wrong token, or says the wrong thing: %v", err)
	}
	do[anything](t, view, vaultclient.Request{Method: http.MethodGet, Path: "auth/token/lookup-self"})
	do[anything](t, c, policy)
	do[anything](t, view.WithToken(nil), policy)
	if wire.token() != shared.RootToken() {
		t.Error("a view changed what it is a view of")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		if s := fmt.Sprintf(verb, view); s != "client of Vault at "+shared.Addr() {
			t.Errorf("%s: %s", verb, s)
		}
	}
}

// A login: no token, an answer with its value not under data, and secrets in both.
func TestLogin(t *testing.T) {
	c, wire := rootAt(t, shared, shared.Addr())
	mount, role := newName(), newName()
	do[anything](t, c, vaultclient.Request{Method: http.MethodPost, Path: "sys/auth/" + mount, Body: body(t, map[string]string{"type": "approle"})})
	path := "auth/" + mount + "/role/" + role
	do[anything](t, c, vaultclient.Request{Method: http.MethodPost, Path: path, Body: body(t, nil)})
	roleID := do[vaultclient.Data[struct {
		RoleID string `json:"role_id"`
	}]](t, c, vaultclient.Request{Method: http.MethodGet, Path: path + "/role-id"}).Data.RoleID
	secretID := do[vaultclient.Data[struct {
		SecretID vaultclient.TextBytes `json:"secret_id"`
	}]](t, c, vaultclient.Request{Method: http.MethodPost, Path: path + "/secret-id", Once: true}).Data.SecretID

	type answer struct {
		Auth struct {
			ClientToken vaultclient.TextBytes `json:"client_token"`
			Renewable   bool                  `json:"renewable"`
		} `json:"auth"`
	}
	anonymous := c.WithToken(func() string { return "" })
	login := vaultclient.Request{
		Method: http.MethodPut, Path: "auth/" + mount + "/login",
		Body: body(t, map[string]string{"role_id": roleID}, vaultclient.SecretField{Name: "secret_id", Text: secretID}),
	}
	got := do[answer](t, anonymous, login)
	if !bytes.HasPrefix(got.Auth.ClientToken, []byte("hvs.")) && !bytes.HasPrefix(got.Auth.ClientToken, []byte("s.")) || wire.token() != "" {
		t.Errorf("logged in with token %q, and got one of %d bytes", wire.token(), len(got.Auth.ClientToken))
	}
	wire.count()
	fails(t, anonymous, login, nil) // its body is wiped
	if n := wire.count(); n != 0 {
		t.Errorf("a wiped body was sent %d times", n)
	}
	do[anything](t, c.WithToken(func() string { return string(got.Auth.ClientToken) }),
		vaultclient.Request{Method: http.MethodGet, Path: "auth/token/lookup-self"})

	// Vault 1.13 answers 500, later ones 400. A few more tries would lock the role.
	own := errors.New("my own")
	login.Body = body(t, map[string]string{"role_id": roleID}, vaultclient.SecretField{Name: "secret_id", Text: secretID[:8]})
	login.Refused = func(_ int, text string) error {
		if strings.Contains(text, "invalid secret id") {
			return own
		}
		return nil
	}
	wire.count()
	fails(t, anonymous, login, own)
	if n := wire.count(); n != 1 {
		t.Errorf("%d logins with a wrong secret id", n)
	}
}

func TestRefused(t *testing.T) {
	c, wire := rootAt(t, shared, shared.Addr())
	r := vaultclient.Request{
		Method: http.MethodPut, Path: "sys/policies/acl/" + newName(), Body: body(t, map[string]string{"policy": `path "x" { capabilities = ["fly"] }`}),
	}
	_, _, err := vaultclient.Do[anything](t.Context(), c, r)
	refused, ok := errors.AsType[*vaultclient.RefusedError](err)
	if !ok || refused.Status != http.StatusBadRequest || !strings.HasPrefix(err.Error(), "refused by Vault with status 400: ") {
		t.Errorf("a policy that is none: %v", err)
	}
	if n := wire.count(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

type health struct {
	Initialized bool `json:"initialized"`
	Sealed      bool `json:"sealed"`
}

func TestAccept(t *testing.T) {
	v := devvault.StartForTest(t)
	c, wire := rootAt(t, v, v.Addr())
	check := func(want int, sealed bool) {
		t.Helper()
		got, answer, err := vaultclient.Do[health](t.Context(), c, vaultclient.Request{
			Method: http.MethodGet, Path: "sys/health", Accept: []int{429, 472, 473, 501, 503},
		})
		if err != nil {
			t.Fatal(err)
		}
		if answer.Status != want || *got != (health{true, sealed}) {
			t.Errorf("status %d, %+v", answer.Status, *got)
		}
		status := do[struct {
			Sealed bool `json:"sealed"`
			Shares int  `json:"n"`
		}](t, c, vaultclient.Request{Method: http.MethodGet, Path: "sys/seal-status"})
		if status.Sealed != sealed || status.Shares < 1 {
			t.Errorf("sys/seal-status: %+v", *status)
		}
	}
	check(http.StatusOK, false)
	if err := v.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(http.StatusServiceUnavailable, true)
	wire.count()
	// With errors, it is one whatever is accepted.
	fails(t, c, vaultclient.Request{Method: vaultclient.MethodList, Path: "sys/policies/acl", Accept: []int{503}}, atrest.ErrVaultSealed)
	if n := wire.count(); n != 1 {
		t.Errorf("%d requests to a sealed Vault", n)
	}
}

func TestRefusedIsNotRetried(t *testing.T) {
	addr := proxy(t, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(http.StatusInternalServerError)
		io.WriteString(w, `{"errors":["unable to retrieve stored keys"]}`)
	})
	c, wire := rootAt(t, shared, addr)
	own := errors.New("wrong key")
	r := vaultclient.Request{Method: http.MethodPut, Path: "sys/unseal", Refused: func(status int, text string) error {
		if status == http.StatusInternalServerError && text == "unable to retrieve stored keys" {
			return own
		}
		return nil
	}}
	fails(t, c, r, own)
	if n := wire.count(); n != 1 {
		t.Errorf("%d requests", n)
	}
	r.Refused = func(int, string) error { return nil }
	fails(t, c, r, atrest.ErrVaultUnavailable)
	if n := wire.count(); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
	r.Once = true
	fails(t, c, r, atrest.ErrVaultUnavailable)
	if n := wire.count(); n != 1 {
		t.Errorf("%d requests, want one", n)
	}
}

func TestTimeoutOfRequest(t *testing.T) {
	addr := proxy(t, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() })
	c, wire := rootAt(t, shared, addr)
	start := time.Now()
	err := fails(t, c, vaultclient.Request{Method: http.MethodDelete, Path: "sys/mounts/x", Once: true, Timeout: 50 * time.Millisecond}, atrest.ErrVaultUnavailable)
	if d := time.Since(start); d > 5*time.Second || errors.Is(err, context.DeadlineExceeded) || wire.count() != 1 {
		t.Errorf("after %s: %v", d, err)
	}
}

// What Vault redirects keeps its method and query, and may not lead to plaintext.
func TestRedirects(t *testing.T) {
	to := shared.Addr()
	addr := proxy(t, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(w, r, to+r.URL.Path, http.StatusTemporaryRedirect)
	})
	c, wire := rootAt(t, shared, addr)
	list := vaultclient.Request{Method: vaultclient.MethodList, Path: "sys/policies/acl"}
	if got := do[vaultclient.Data[keys]](t, c, list); !slices.Contains(got.Data.Keys, "default") {
		t.Errorf("%q", got.Data.Keys)
	}
	path := "sys/policies/acl/" + newName()
	do[anything](t, c, vaultclient.Request{Method: http.MethodPost, Path: path, Body: body(t, map[string]string{"policy": `path "x" {}`})})
	do[anything](t, c, vaultclient.Request{Method: http.MethodDelete, Path: path})
	fails(t, c, vaultclient.Request{Method: http.MethodGet, Path: path}, vaultclient.ErrNotFound)

	to = "http://vault.example.com"
	wire.count()
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete, vaultclient.MethodList} {
		fails(t, c, vaultclient.Request{Method: method, Path: path}, atrest.ErrPlaintextConnection)
		if n := wire.count(); n != 1 {
			t.Errorf("%s: %d requests", method, n)
		}
	}
}

// Whole answers have no data that could be missing, but must be objects.
func TestGarbageForWholeAnswers(t *testing.T) {
	for _, text := range []string{"null", "[]", `"x"`, "<html>login</html>", "{", `{"initialized":"login"}`, `{} {}`} {
		for _, status := range []int{http.StatusOK, http.StatusNotFound} {
			addr := proxy(t, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
				w.WriteHeader(status)
				io.WriteString(w, text)
			})
			c, wire := rootAt(t, shared, addr)
			got, _, err := vaultclient.Do[health](t.Context(), c, vaultclient.Request{
				Method: http.MethodGet, Path: "sys/health", Accept: []int{http.StatusNotFound},
			})
			if !errors.Is(err, atrest.ErrVaultUnavailable) || got != nil || strings.Contains(err.Error(), "login") {
				t.Errorf("%d %s: %v, %v", status, text, got, err)
			}
			if n := wire.count(); n != 1 {
				t.Errorf("%d %s: %d requests", status, text, n)
			}
		}
	}
}
