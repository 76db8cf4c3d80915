package seal

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/vaultclient"
)

// tokenPeriod is for how long a service's token is valid after each renewal, in
// the form that Vault takes. It is what Terraform Enterprise asks of AppRole.
const tokenPeriod = "24h"

// A mount is an entry of sys/mounts or sys/auth.
type mount struct {
	Type string `json:"type"`
}

// setUp gives Vault what a service needs: the transit engine, the derived key, the
// policy, and the AppRole, whose credentials it returns. All of it may be there
// already, in part or whole, from a run that died.
func (m *Manager) setUp(ctx context.Context, root *vaultclient.Client) (*appRole, error) {
	for _, step := range []func(context.Context, *vaultclient.Client) error{
		m.mountTransit, m.createKey, m.writePolicy, m.enableAppRole, m.writeRole,
	} {
		if err := step(ctx, root); err != nil {
			return nil, fmt.Errorf("setting up Vault: %w", err)
		}
	}
	role, err := m.newSecretID(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("setting up Vault: %w", err)
	}
	return role, nil
}

func (m *Manager) mountTransit(ctx context.Context, root *vaultclient.Client) error {
	return m.mountAt(ctx, root, "sys/mounts", m.cfg.Mount, "transit")
}

// enableAppRole mounts the AppRole engine, without Vault's lockout: by default, five logins
// that fail lock the role out for 15 minutes, on all nodes, and the right secret id with it
// (sys/auth/MOUNT/tune, user_lockout_config). Who can reach Vault could keep every service
// out that way, while guessing 122 random bits is hopeless anyway. Vaults before 1.13 have no
// lockout, and ignore this.
func (m *Manager) enableAppRole(ctx context.Context, root *vaultclient.Client) error {
	if err := m.mountAt(ctx, root, "sys/auth", m.cfg.AppRoleMount, "approle"); err != nil {
		return err
	}
	return m.write(ctx, root, "sys/auth/"+m.cfg.AppRoleMount+"/tune", map[string]any{"user_lockout_config": map[string]any{"lockout_disable": true}})
}

// mountAt sees to it that an engine of that type is mounted there.
func (m *Manager) mountAt(ctx context.Context, root *vaultclient.Client, table, path, kind string) error {
	mounts, _, err := vaultclient.Do[vaultclient.Data[map[string]mount]](ctx, root, vaultclient.Request{Method: http.MethodGet, Path: table, Capability: "read"})
	if err != nil {
		return err
	}
	if mounts == nil {
		return vaultclient.Garbage("no list of mounts")
	}
	if there, ok := (*mounts.Data)[path+"/"]; ok {
		if there.Type != kind {
			return fmt.Errorf("%w: at %s/%s there is an engine of type %.40q, not %q; choose another mount", atrest.ErrConflict, table, path, there.Type, kind)
		}
		return nil
	}
	return m.write(ctx, root, table+"/"+path, map[string]string{"type": kind})
}

// createKey creates the transit key. On one that exists Vault changes nothing, so
// what is really there is looked at.
func (m *Manager) createKey(ctx context.Context, root *vaultclient.Client) error {
	path := m.keyPath()
	if err := m.write(ctx, root, path, map[string]any{"type": "aes256-gcm96", "derived": true}); err != nil {
		return err
	}
	key, err := m.readKey(ctx, root)
	if err != nil {
		return err
	}
	if !key.Derived {
		return fmt.Errorf("%w: %s; choose another name for the key", atrest.ErrKeyNotDerived, path)
	}
	return nil
}

// A transitKey is what we need of the answer to reading MOUNT/keys/NAME.
type transitKey struct {
	Type                 string         `json:"type"`
	Derived              bool           `json:"derived"`
	LatestVersion        uint32         `json:"latest_version"`
	MinDecryptionVersion uint32         `json:"min_decryption_version"`
	Keys                 map[string]any `json:"keys"` // by version: when it was made, in seconds since 1970, if it is symmetric
}

// made is when the key was made, in seconds since 1970, 0 if it does not say.
func (k *transitKey) made() int64 {
	seconds, _ := k.Keys["1"].(float64)
	return int64(seconds)
}

func (m *Manager) readKey(ctx context.Context, c *vaultclient.Client) (*transitKey, error) {
	return readTransitKey(ctx, c, m.cfg.Mount, m.cfg.Key)
}

func readTransitKey(ctx context.Context, c *vaultclient.Client, mount, key string) (*transitKey, error) {
	a, _, err := vaultclient.Do[vaultclient.Data[transitKey]](ctx, c, vaultclient.Request{
		Method: http.MethodGet, Path: mount + "/keys/" + key, Capability: "read",
		Refused: func(status int, _ string) error {
			if status == http.StatusNotFound {
				return fmt.Errorf("%w: %s/%s", atrest.ErrKeyNotFound, mount, key)
			}
			return nil
		},
	})
	if err == nil && (a == nil || a.Data.LatestVersion == 0) {
		err = vaultclient.Garbage("no transit key")
	}
	if err != nil {
		return nil, err
	}
	return a.Data, nil
}

func (m *Manager) writePolicy(ctx context.Context, root *vaultclient.Client) error {
	return m.write(ctx, root, "sys/policies/acl/"+m.cfg.RoleName, map[string]string{"policy": Policy(m.cfg.Mount, m.cfg.Key)})
}

// writeRole makes tokens orphans of a period, which no other token's end ends and
// which can be renewed for ever, and secret ids that do not expire: their rotation is
// RotateSecretID's.
func (m *Manager) writeRole(ctx context.Context, root *vaultclient.Client) error {
	return m.write(ctx, root, m.rolePath(), map[string]any{
		"token_policies":          []string{m.cfg.RoleName},
		"token_no_default_policy": false, // "default" lets a token look up and renew itself
		"token_period":            tokenPeriod,
		"token_type":              "service",
		"bind_secret_id":          true,
		"secret_id_ttl":           "0",
		"secret_id_num_uses":      0,
	})
}

func (m *Manager) rolePath() string { return "auth/" + m.cfg.AppRoleMount + "/role/" + m.cfg.RoleName }

// newSecretID returns the role's credentials with a secret id made now. One that a run
// which died has made stays: destroyOtherSecretIDs finds it.
func (m *Manager) newSecretID(ctx context.Context, root *vaultclient.Client) (*appRole, error) {
	type roleID struct {
		RoleID vaultclient.TextBytes `json:"role_id"`
	}
	id, _, err := vaultclient.Do[vaultclient.Data[roleID]](ctx, root, vaultclient.Request{Method: http.MethodGet, Path: m.rolePath() + "/role-id"})
	if err != nil {
		return nil, err
	}
	type secretID struct {
		SecretID vaultclient.TextBytes `json:"secret_id"`
		Accessor vaultclient.TextBytes `json:"secret_id_accessor"`
	}
	body, err := vaultclient.Body(struct{}{})
	if err != nil {
		return nil, err
	}
	made, _, err := vaultclient.Do[vaultclient.Data[secretID]](ctx, root, vaultclient.Request{Method: http.MethodPut, Path: m.rolePath() + "/secret-id", Body: body, Once: true})
	if err != nil {
		return nil, err
	}
	if id == nil || made == nil {
		return nil, vaultclient.Garbage("no credentials of the AppRole")
	}
	role := &appRole{
		mount: m.cfg.AppRoleMount, role: m.cfg.RoleName,
		roleID: newSecret(id.Data.RoleID), secretID: newSecret(made.Data.SecretID), accessor: newSecret(made.Data.Accessor),
	}
	if !role.valid() {
		return nil, vaultclient.Garbage("no credentials of the AppRole")
	}
	return role, nil
}

// destroyOtherSecretIDs destroys all secret ids of the role but those in use.
func (m *Manager) destroyOtherSecretIDs(ctx context.Context, root *vaultclient.Client, keep ...string) error {
	type accessors struct {
		Keys []string `json:"keys"`
	}
	all, _, err := vaultclient.Do[vaultclient.Data[accessors]](ctx, root, vaultclient.Request{Method: vaultclient.MethodList, Path: m.rolePath() + "/secret-id"})
	if errors.Is(err, vaultclient.ErrNotFound) {
		return nil // there is none
	}
	if err != nil {
		return err
	}
	if all == nil {
		return vaultclient.Garbage("no list of secret ids")
	}
	for _, accessor := range all.Data.Keys {
		if slices.Contains(keep, accessor) {
			continue
		}
		if err := m.write(ctx, root, m.rolePath()+"/secret-id-accessor/destroy", map[string]string{"secret_id_accessor": accessor}); err != nil {
			return err
		}
	}
	return nil
}

// write sends what may be sent again without harm.
func (m *Manager) write(ctx context.Context, c *vaultclient.Client, path string, v any) error {
	body, err := vaultclient.Body(v)
	if err != nil {
		return err
	}
	_, _, err = vaultclient.Do[struct{}](ctx, c, vaultclient.Request{Method: http.MethodPut, Path: path, Capability: "update", Body: body})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// repairPolicy gives the service back what it may not do any more: what its policy lacks is
// added to it, and the policy to the role. Nothing is taken away, since what else is there
// an administrator may have put there, or a node that uses another key.
func (m *Manager) repairPolicy(ctx context.Context, role *appRole) error {
	needed := capabilitiesOf(m.cfg.Mount, m.cfg.Key, false)
	service := m.anonymous.WithToken(m.session.currentToken)
	err := checkCapabilities(ctx, service, needed)
	if !errors.Is(err, atrest.ErrPermission) {
		return err
	}
	if role.mount != m.cfg.AppRoleMount || role.role != m.cfg.RoleName {
		return err // the role is another than the one that Config names
	}
	m.log.WarnContext(ctx, "the policy of the service is repaired", "error", err)
	err = m.locked(ctx, func(ctx context.Context, s *sealed) error {
		return m.withRoot(ctx, s.keys, func(ctx context.Context, root *vaultclient.Client) error {
			if _, err := m.readKey(ctx, root); err != nil {
				return err // a mistyped name is not to be granted
			}
			return errors.Join(m.extendPolicy(ctx, root), m.extendRole(ctx, root))
		})
	})
	if err == nil {
		err = m.loginAnew(ctx, role)
	}
	if err != nil {
		return err
	}
	return checkCapabilities(ctx, service, needed)
}

// extendPolicy adds to the policy, if it is there, what a service needs.
func (m *Manager) extendPolicy(ctx context.Context, root *vaultclient.Client) error {
	type policy struct {
		Policy string `json:"policy"`
	}
	path := "sys/policies/acl/" + m.cfg.RoleName
	there, _, err := vaultclient.Do[vaultclient.Data[policy]](ctx, root, vaultclient.Request{Method: http.MethodGet, Path: path})
	if err != nil && !isMissing(err) {
		return err
	}
	text := Policy(m.cfg.Mount, m.cfg.Key)
	if err == nil && there != nil && strings.Contains(there.Data.Policy, text) {
		return nil // something else denies it, which adding it again would not change
	}
	if err == nil && there != nil && there.Data.Policy != "" {
		text = strings.TrimSpace(there.Data.Policy) + "\n" + text
	}
	return m.write(ctx, root, path, map[string]string{"policy": text})
}

// extendRole adds the policy to the role, if that lacks it.
func (m *Manager) extendRole(ctx context.Context, root *vaultclient.Client) error {
	type role struct {
		Policies []string `json:"token_policies"`
	}
	there, _, err := vaultclient.Do[vaultclient.Data[role]](ctx, root, vaultclient.Request{Method: http.MethodGet, Path: m.rolePath()})
	if err != nil {
		return err
	}
	if there == nil {
		return vaultclient.Garbage("no role")
	}
	if slices.Contains(there.Data.Policies, m.cfg.RoleName) {
		return nil
	}
	return m.write(ctx, root, m.rolePath(), map[string]any{"token_policies": append(there.Data.Policies, m.cfg.RoleName)})
}

// finish sets Vault up after a run that died before it had done so. What was begun
// of other changes has been settled or is of no use: it is dropped.
func (m *Manager) finish(ctx context.Context, s *sealed) (*sealed, error) {
	if s.appRole != nil {
		return m.settleAppRole(ctx, s)
	}
	token, err := m.generateRoot(ctx, s.keys)
	if err != nil {
		return nil, err
	}
	return m.setUpAs(ctx, s, token)
}

// setUpAs sets Vault up with a root token, which it revokes, and records how to log
// in. The root token goes last: a run that dies before finds set-up unfinished, and
// ends by revoking all of them.
func (m *Manager) setUpAs(ctx context.Context, s *sealed, token []byte) (done *sealed, err error) {
	err = m.useRoot(ctx, token, func(ctx context.Context, root *vaultclient.Client) error {
		role, err := m.setUp(ctx, root)
		if err != nil {
			return err
		}
		defer role.wipe()
		ready := &sealed{s.revision, s.header, &payload{keys: s.keys, appRole: role}}
		if done, err = m.putCurrent(ctx, ready); err != nil {
			return err
		}
		m.removeCandidates(ctx) // the root token has proven the key
		return m.destroyOtherSecretIDs(ctx, root, string(done.appRole.accessor.bytes()))
	})
	if err != nil {
		done.wipeAll()
		return nil, err
	}
	m.log.InfoContext(ctx, "vault is set up", "mount", m.cfg.Mount, "key", m.cfg.Key, "role", m.cfg.RoleName)
	return done, nil
}
