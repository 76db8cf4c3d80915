package seal

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/transit"
)

// A cluster signs the tokens of a Kubernetes cluster's service accounts, as its API server
// does by default (RS256).
type cluster struct{ key *rsa.PrivateKey }

func newCluster(t *testing.T) cluster {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return cluster{key}
}

const (
	clusterIssuer  = "https://kubernetes.default.svc.cluster.local"
	serviceAccount = "system:serviceaccount:shop:storage"
)

// publicKey is what Vault checks the tokens against.
func (c cluster) publicKey(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&c.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// token is one of a service account, in the form of those that Kubernetes puts into pods.
// Each has an id of its own.
func (c cluster) token(t *testing.T, id string, lives time.Duration, changes map[string]any) string {
	t.Helper()
	now := time.Now()
	claims := map[string]any{
		"iss": clusterIssuer, "sub": serviceAccount, "aud": []string{"vault"}, "jti": id,
		"iat": now.Add(-time.Hour).Unix(), "nbf": now.Add(-time.Hour).Unix(), "exp": now.Add(lives).Unix(),
		"kubernetes.io": map[string]any{
			"namespace":      "shop",
			"serviceaccount": map[string]any{"name": "storage", "uid": "6a0c2f3e-95f5-4d3c-a1f5-6a5d9b1c7c52"},
			"pod":            map[string]any{"name": "storage-0", "uid": "f0e2d5b4-1f0a-4a3b-8a53-2f5f1f3b7f11"},
		},
	}
	for name, value := range changes {
		claims[name] = value
	}
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(map[string]string{"alg": "RS256", "kid": "1"}) + "." + part(claims)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, c.key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// trusts enables the JWT engine for a cluster's service account, whose tokens of Vault's
// hold for ttl unless renewed.
func (a administrator) trusts(t *testing.T, c cluster, policy, ttl string) {
	t.Helper()
	if err := a.Sys().EnableAuthWithOptionsWithContext(t.Context(), "jwt", &api.EnableAuthOptions{Type: "jwt"}); err != nil {
		t.Fatal(err)
	}
	a.write(t, "sys/policies/acl/pod", map[string]any{"policy": policy})
	a.write(t, "auth/jwt/config", map[string]any{"jwt_validation_pubkeys": []string{c.publicKey(t)}, "bound_issuer": clusterIssuer})
	a.write(t, "auth/jwt/role/pod", map[string]any{
		"role_type": "jwt", "user_claim": "sub", "bound_subject": serviceAccount, "bound_audiences": "vault",
		"claim_mappings": map[string]string{"jti": "jti"}, "token_policies": "pod", "token_ttl": ttl,
	})
}

// asksCluster enables the Kubernetes engine. There is no cluster at its address, so it gets
// as far as to what it sees for itself.
func (a administrator) asksCluster(t *testing.T, c cluster) {
	t.Helper()
	if err := a.Sys().EnableAuthWithOptionsWithContext(t.Context(), "kubernetes", &api.EnableAuthOptions{Type: "kubernetes"}); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	a.write(t, "auth/kubernetes/config", map[string]any{
		"kubernetes_host": "http://" + listener.Addr().String(), "pem_keys": []string{c.publicKey(t)},
		"disable_local_ca_jwt": true, "kubernetes_ca_cert": c.publicKey(t),
	})
	a.write(t, "auth/kubernetes/role/pod", map[string]any{
		"bound_service_account_names": "storage", "bound_service_account_namespaces": "shop", "audience": "vault",
	})
}

// inFile writes a file as it is in a pod, and returns the login by it.
func inFile(t *testing.T, path, text string) Login {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Kubernetes("jwt", "pod", path)
}

// loginOf asks the administrator about the session's token: by which of the service
// account's it was made, and whether it has been renewed.
func (a administrator) loginOf(t *testing.T, x *External) (id string, renewed bool) {
	t.Helper()
	info := a.write(t, "auth/token/lookup", map[string]any{"token": x.session.currentToken()})
	meta, _ := info.Data["meta"].(map[string]any)
	id, _ = meta["jti"].(string)
	return id, info.Data["last_renewal"] != nil
}

// revokeLogin ends the session's token as an administrator may at any time.
func (a administrator) revokeLogin(t *testing.T, x *External) {
	t.Helper()
	a.write(t, "auth/token/revoke", map[string]any{"token": x.session.currentToken()})
}

// wantNothingOf fails if a text has a piece of a token that is long enough to tell.
func wantNothingOf(t *testing.T, text, token string) {
	t.Helper()
	const piece = 10
	for i := range len(token) - piece {
		if strings.Contains(text, token[i:i+piece]) {
			t.Fatalf("it has %q of the token: %s", token[i:i+piece], text)
		}
	}
}

// A journal keeps what is logged.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// soon tries until it is done.
func soon(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within a minute")
		}
	}
}

// TestKubernetes logs in by the token of a service account, which Vault checks against the
// cluster's public key.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	a, c := externalVault(t), newCluster(t)
	a.write(t, "transit/keys/atrest", map[string]any{"derived": true})
	a.trusts(t, c, ExternalPolicy("transit", "atrest"), "1h")
	path := filepath.Join(t.TempDir(), "token")
	var log journal
	x, err := a.open(t, ExternalConfig{
		Login: inFile(t, path, c.token(t, "first", time.Hour, nil)+"\n"), Records: memory.NewRecords(),
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	wantExternal(t, x, "atrest")
	if id, _ := a.loginOf(t, x); id != "first" {
		t.Errorf("logged in by token %q", id)
	}

	// Kubernetes replaces its token long before that ends, and Vault's is revoked.
	inFile(t, path, c.token(t, "second", time.Hour, nil))
	a.revokeLogin(t, x)
	wantExternal(t, x, "atrest")
	if id, _ := a.loginOf(t, x); id != "second" {
		t.Errorf("logged in anew by token %q", id)
	}

	// This one is not replaced in time.
	late := c.token(t, "late", -10*time.Minute, nil)
	inFile(t, path, late)
	a.revokeLogin(t, x)
	client, err := x.Client()
	if err != nil {
		t.Fatal(err)
	}
	use := func() error {
		_, err := transit.Open(t.Context(), transit.Config{Client: client, Key: "atrest"})
		return err
	}
	for range 2 {
		if err := use(); !errors.Is(err, atrest.ErrPermission) {
			t.Errorf("the service account's token has expired: %v", err)
		}
	}
	if text := log.String(); !strings.Contains(text, "level=WARN") || !strings.Contains(text, "expired") {
		t.Errorf("the log does not say why: %s", text)
	}
	wantNothingOf(t, log.String(), late)
	inFile(t, path, c.token(t, "third", time.Hour, nil))
	soon(t, func() bool { // a login that has failed is not tried again at once
		err := use()
		if err != nil && !errors.Is(err, atrest.ErrPermission) {
			t.Fatal(err)
		}
		return err == nil
	})
	if id, _ := a.loginOf(t, x); id != "third" {
		t.Errorf("logged in at last by token %q", id)
	}
}

// TestKubernetesRenews lets two thirds of a token's time pass.
func TestKubernetesRenews(t *testing.T) {
	t.Parallel()
	a, c := externalVault(t), newCluster(t)
	a.write(t, "transit/keys/atrest", map[string]any{"derived": true})
	a.trusts(t, c, Policy("transit", "atrest"), "9s")
	path := filepath.Join(t.TempDir(), "token")
	x, err := a.open(t, ExternalConfig{Login: inFile(t, path, c.token(t, "first", time.Hour, nil))})
	if err != nil {
		t.Fatal(err)
	}
	token := x.session.currentToken()
	inFile(t, path, "") // so that it can't log in anew instead
	soon(t, func() bool {
		_, renewed := a.loginOf(t, x)
		return renewed
	})
	wantExternal(t, x, "atrest")
	if x.session.currentToken() != token {
		t.Error("it has another token")
	}
}

// TestKubernetesRefused is about tokens that Vault does not accept, by either engine.
func TestKubernetesRefused(t *testing.T) {
	t.Parallel()
	a, c := externalVault(t), newCluster(t)
	a.trusts(t, c, Policy("transit", "atrest"), "1h")
	a.asksCluster(t, c)
	path := filepath.Join(t.TempDir(), "token")
	good := c.token(t, "1", time.Hour, nil)
	for name, test := range map[string]struct{ role, token string }{
		"an expired token":     {"pod", c.token(t, "1", -10*time.Minute, nil)},
		"for another audience": {"pod", c.token(t, "1", time.Hour, map[string]any{"aud": []string{"https://kubernetes.default.svc"}})},
		"of another account": {"pod", c.token(t, "1", time.Hour, map[string]any{
			"sub":           "system:serviceaccount:shop:default",
			"kubernetes.io": map[string]any{"namespace": "shop", "serviceaccount": map[string]any{"name": "default", "uid": "1"}},
		})},
		"of another cluster": {"pod", newCluster(t).token(t, "1", time.Hour, nil)},
		"an unknown role":    {"cronjob", good},
		"no role":            {"", good},
		"not a token":        {"pod", "eyJub3QiOiJhIHRva2VuIn0.e30.c2lnbmF0dXJl"},
	} {
		for _, mount := range []string{"jwt", "kubernetes"} {
			inFile(t, path, test.token)
			_, err := a.open(t, ExternalConfig{Login: Kubernetes(mount, test.role, path)})
			if !errors.Is(err, atrest.ErrPermission) || !strings.Contains(err.Error(), "auth/"+mount) {
				t.Errorf("%s, engine %s: %v", name, mount, err)
			}
			wantNothingOf(t, fmt.Sprint(err), test.token)
		}
	}
	// The Kubernetes engine has nobody to ask, and the last has no engine.
	for _, mount := range []string{"kubernetes", "elsewhere"} {
		inFile(t, path, good)
		_, err := a.open(t, ExternalConfig{Login: Kubernetes(mount, "pod", path)})
		if !errors.Is(err, atrest.ErrPermission) || !strings.Contains(err.Error(), "auth/"+mount) {
			t.Errorf("engine %s: %v", mount, err)
		}
		wantNothingOf(t, fmt.Sprint(err), good)
	}
}

// TestKubernetesFile is about files with no token, which Vault is not asked about.
func TestKubernetesFile(t *testing.T) {
	t.Parallel()
	a := externalVault(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "token")
	open := func(path string) error {
		_, err := a.open(t, ExternalConfig{Login: Kubernetes("jwt", "pod", path)})
		return err
	}
	if err := open(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := open(dir); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("a directory: %v", err)
	}
	for _, blank := range []string{"", " \n"} {
		inFile(t, path, blank)
		if err := open(path); !errors.Is(err, atrest.ErrPermission) || !strings.Contains(err.Error(), path) {
			t.Errorf("the file has %q: %v", blank, err)
		}
	}
	inFile(t, path, strings.Repeat("x", 1<<20))
	if err := open(path); err == nil || !strings.Contains(err.Error(), "32768 bytes") || len(err.Error()) > 500 {
		t.Errorf("a file of 1 MB: %.500v", err)
	}
	c := newCluster(t)
	two := c.token(t, "1", time.Hour, nil) + "\n" + c.token(t, "2", time.Hour, nil)
	inFile(t, path, two)
	err := open(path)
	if !errors.Is(err, atrest.ErrPermission) || !strings.Contains(err.Error(), path) {
		t.Errorf("a file with two tokens: %v", err)
	}
	wantNothingOf(t, fmt.Sprint(err), two)
}

// spoken notes the namespace of each request, as Vault heard it: it says it back.
type spoken struct {
	mu         sync.Mutex
	namespaces map[string][]string // by method and path
}

func (s *spoken) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		name := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/v1/")
		s.namespaces[name] = append(s.namespaces[name], resp.Header.Get("X-Vault-Namespace"))
	}
	return resp, err
}

// TestNamespace looks at what is sent, for this Vault has no namespaces: every request of
// the session and of its clients is in that of the client that it was opened with.
func TestNamespace(t *testing.T) {
	t.Parallel()
	a, c := externalVault(t), newCluster(t)
	a.write(t, "transit/keys/atrest", map[string]any{"derived": true})
	a.trusts(t, c, ExternalPolicy("transit", "atrest"), "9s")
	path := filepath.Join(t.TempDir(), "token")
	said := &spoken{namespaces: map[string][]string{}}
	vault, err := apiClient(&api.Config{Address: a.Addr(), HttpClient: &http.Client{Transport: said}})
	if err != nil {
		t.Fatal(err)
	}
	vault.SetNamespace("team/shop")
	x, err := OpenExternal(t.Context(), ExternalConfig{
		Vault: vault, Login: inFile(t, path, c.token(t, "first", time.Hour, nil)), Records: memory.NewRecords(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	vault.SetNamespace("team/other") // which is too late
	wantExternal(t, x, "atrest")
	a.revokeLogin(t, x)
	wantExternal(t, x, "atrest")
	soon(t, func() bool {
		_, renewed := a.loginOf(t, x)
		return renewed
	})
	x.Close()
	said.mu.Lock()
	defer said.mu.Unlock()
	for name, namespaces := range said.namespaces {
		for _, namespace := range namespaces {
			if namespace != "team/shop" {
				t.Errorf("%s in namespace %q", name, namespace)
			}
		}
	}
	for name, times := range map[string]int{
		"PUT auth/jwt/login": 2, "PUT auth/token/renew-self": 1, "PUT auth/token/revoke-self": 1,
		"GET transit/keys": 2, "GET transit/keys/atrest": 3, "PUT transit/encrypt/atrest": 2,
	} {
		if len(said.namespaces[name]) < times {
			t.Errorf("%s was sent %d times; all: %v", name, len(said.namespaces[name]), said.namespaces)
		}
	}
}
