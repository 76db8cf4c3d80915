package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/vaultclient"
)

// A Login is a way to log in to Vault as a service: [AppRole], [Token], [TokenFile] or
// [Kubernetes]. Printed, with any verb, it shows no secret.
type Login struct {
	method loginMethod
}

// A loginMethod gets a token, each time that the session needs another.
type loginMethod interface {
	logIn(ctx context.Context, vault *vaultclient.Client) (*granted, error)
	copy() loginMethod // that is wiped on its own
	wipe()
}

// granted is a token and how long it holds. 0 is for ever.
type granted struct {
	token *secret
	ttl   time.Duration
	ours  bool // it was made for us, and is ours to revoke
}

// AppRole logs in by a role id and a secret id, at the mount of the AppRole engine, which
// is "approle" if empty. It copies what it is given. A Vault that has its default settings
// locks the role out for 15 minutes after five logins that failed.
func AppRole(mount string, roleID, secretID []byte) Login {
	if mount == "" {
		mount = "approle"
	}
	return Login{&appRole{mount: mount, roleID: newSecret(bytes.Clone(roleID)), secretID: newSecret(bytes.Clone(secretID))}}
}

// Token uses a token as it is, and renews it if Vault lets it. Once it has ended there is
// no other.
func Token(token []byte) Login { return Login{&fixedToken{newSecret(bytes.Clone(token))}} }

// TokenFile uses the token in a file, as an agent that logs in keeps it there, and reads
// the file again when that token no longer holds.
func TokenFile(path string) Login { return Login{tokenFile(path)} }

// Kubernetes logs in by the token of the pod's service account, in jwtFile, which is
// read again each time; empty means where Kubernetes puts it. role is that of Vault's
// Kubernetes engine at mount, "kubernetes" if empty.
func Kubernetes(mount, role, jwtFile string) Login {
	if mount == "" {
		mount = "kubernetes"
	}
	if jwtFile == "" {
		jwtFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	}
	return Login{&kubernetes{mount, role, jwtFile}}
}

func (r *appRole) logIn(ctx context.Context, vault *vaultclient.Client) (*granted, error) {
	return logInAt(ctx, vault, r.mount,
		vaultclient.SecretField{Name: "role_id", Text: r.roleID.bytes()},
		vaultclient.SecretField{Name: "secret_id", Text: r.secretID.bytes()})
}

func (r *appRole) copy() loginMethod { return r.clone() }

type kubernetes struct{ mount, role, jwtFile string }

func (k *kubernetes) logIn(ctx context.Context, vault *vaultclient.Client) (*granted, error) {
	jwt, err := readTokenFile(k.jwtFile)
	if err != nil {
		return nil, err
	}
	defer jwt.wipe()
	return logInAt(ctx, vault, k.mount,
		vaultclient.SecretField{Name: "role", Text: []byte(k.role)}, vaultclient.SecretField{Name: "jwt", Text: jwt.bytes()})
}

func (k *kubernetes) copy() loginMethod { return k }
func (k *kubernetes) wipe()             {}

type fixedToken struct{ token *secret }

func (t *fixedToken) logIn(ctx context.Context, vault *vaultclient.Client) (*granted, error) {
	return lookUp(ctx, vault, t.token.clone())
}

func (t *fixedToken) copy() loginMethod { return &fixedToken{t.token.clone()} }
func (t *fixedToken) wipe()             { t.token.wipe() }

type tokenFile string

func (f tokenFile) logIn(ctx context.Context, vault *vaultclient.Client) (*granted, error) {
	token, err := readTokenFile(string(f))
	if err != nil {
		return nil, err
	}
	return lookUp(ctx, vault, token)
}

func (f tokenFile) copy() loginMethod { return f }
func (f tokenFile) wipe()             {}

// maxTokenFile bounds a token, in bytes. Kubernetes' are some 1 to 2 KiB long.
const maxTokenFile = 32 << 10

// readTokenFile reads one line. Who may read the file is for whoever writes it to see
// to: agents give it to a group.
func readTokenFile(path string) (*secret, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("the file with the token: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxTokenFile {
		return nil, fmt.Errorf("%s is not a regular file of at most %d bytes", path, maxTokenFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the file with the token: %w", err)
	}
	defer wipe(text)
	token := newSecret(bytes.Clone(bytes.TrimSpace(text)))
	if token.size() == 0 {
		return nil, fmt.Errorf("%w: %s is empty", atrest.ErrPermission, path)
	}
	if bytes.ContainsAny(token.bytes(), " \t\r\n") {
		token.wipe()
		return nil, fmt.Errorf("%w: %s holds more than one token", atrest.ErrPermission, path)
	}
	return token, nil
}

// auth is the answer to a login or a renewal.
type auth struct {
	Auth struct {
		ClientToken   vaultclient.TextBytes `json:"client_token"`
		LeaseDuration int64                 `json:"lease_duration"` // seconds
	} `json:"auth"`
}

// logInAt asks the auth engine at mount for a token.
func logInAt(ctx context.Context, vault *vaultclient.Client, mount string, secrets ...vaultclient.SecretField) (*granted, error) {
	body, err := vaultclient.Body(nil, secrets...)
	if err != nil {
		return nil, fmt.Errorf("logging in to Vault: %w", err)
	}
	a, _, err := vaultclient.Do[auth](ctx, vault, vaultclient.Request{
		Method: http.MethodPut, Path: "auth/" + mount + "/login", Body: body, Refused: loginRefusal(mount),
	})
	if err == nil && (a == nil || len(a.Auth.ClientToken) == 0) {
		err = vaultclient.Garbage("no token")
	}
	if err != nil {
		return nil, fmt.Errorf("logging in to Vault: %w", err)
	}
	return &granted{newSecret(a.Auth.ClientToken), time.Duration(a.Auth.LeaseDuration) * time.Second, true}, nil
}

// loginRefusal tells what Vault's engines say of credentials: AppRole 400 or, in some
// versions, 500; JWT 400; Kubernetes 403, which is also what a mount has that is not there,
// and a role that is locked out.
func loginRefusal(mount string) func(status int, text string) error {
	return func(status int, text string) error {
		known := strings.Contains(text, "invalid secret id") || strings.Contains(text, "invalid role")
		if !known && status != http.StatusBadRequest && status != http.StatusForbidden {
			return nil
		}
		return fmt.Errorf("%w: Vault refused the login at auth/%s: %s; see whether the credentials hold, and whether mount and role are right; after several that failed, Vault may refuse all for some minutes",
			atrest.ErrPermission, mount, vaultclient.Redact(text))
	}
}

// lookUp asks Vault how long a token holds.
func lookUp(ctx context.Context, vault *vaultclient.Client, token *secret) (*granted, error) {
	text := string(token.bytes())
	type info struct {
		TTL int64 `json:"ttl"`
	}
	a, _, err := vaultclient.Do[vaultclient.Data[info]](ctx, vault.WithToken(func() string { return text }),
		vaultclient.Request{Method: http.MethodGet, Path: "auth/token/lookup-self", Capability: "read"})
	if err == nil && a == nil {
		err = vaultclient.Garbage("nothing")
	}
	if errors.Is(err, atrest.ErrPermission) {
		err = fmt.Errorf("%w: the token does not hold, or not any more", atrest.ErrPermission)
	}
	if err != nil {
		token.wipe()
		return nil, fmt.Errorf("logging in to Vault: %w", err)
	}
	return &granted{token, time.Duration(a.Data.TTL) * time.Second, false}, nil
}
