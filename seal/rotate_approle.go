package seal

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/atrest/atrest/internal/vaultclient"

	"github.com/atrest/atrest"
)

// RotateSecretID replaces the secret id by which services log in. Tokens that are in
// use stay valid; the clients of this Manager log in by the new one from now on, those of
// other nodes after their next boot, or, if their token ends before, by reading the
// record.
//
// In order: a new secret id is made and recorded beside the old one, it is tried, it is
// recorded alone, and all others are destroyed. A death before it is recorded alone leaves
// the old one in use, and the next boot destroys the new one; should that boot die as well,
// the next rotation does.
func (m *Manager) RotateSecretID(ctx context.Context) error {
	return m.exclusive(ctx, "rotate secret id", func() error { return m.locked(ctx, m.rotateSecretID) })
}

func (m *Manager) rotateSecretID(ctx context.Context, s *sealed) error {
	if s.appRole == nil {
		return fmt.Errorf("%w: Vault is not set up; boot first", atrest.ErrRecordMissing)
	}
	if s.appRole.mount != m.cfg.AppRoleMount || s.appRole.role != m.cfg.RoleName {
		return fmt.Errorf("%w: services log in by the role %s of auth/%s, and Config names the role %s of auth/%s",
			atrest.ErrConflict, s.appRole.role, s.appRole.mount, m.cfg.RoleName, m.cfg.AppRoleMount)
	}
	return m.withRoot(ctx, s.keys, func(ctx context.Context, root *vaultclient.Client) error {
		role, err := m.newSecretID(ctx, root)
		if isMissing(err) { // the role itself, or its engine
			if err = errors.Join(m.enableAppRole(ctx, root), m.writePolicy(ctx, root), m.writeRole(ctx, root)); err == nil {
				role, err = m.newSecretID(ctx, root)
			}
		}
		if err != nil {
			return err
		}
		defer role.wipe()
		both, err := m.putCurrent(ctx, &sealed{s.revision, s.header, &payload{keys: s.keys, appRole: s.appRole, nextAppRole: role}})
		if err != nil {
			return err
		}
		defer both.wipeAll()
		if err := m.login(ctx, both.nextAppRole); err != nil {
			return err
		}
		alone, err := m.putCurrent(ctx, both.withAppRole(both.nextAppRole))
		if err != nil {
			return err
		}
		defer alone.wipeAll()
		m.removeCandidates(ctx) // the root token has proven the key
		return m.destroyOtherSecretIDs(ctx, root, string(alone.appRole.accessor.bytes()))
	})
}

// isMissing reports whether Vault has nothing at a path.
func isMissing(err error) bool {
	refused, ok := errors.AsType[*vaultclient.RefusedError](err)
	return errors.Is(err, vaultclient.ErrNotFound) || ok && refused.Status == http.StatusNotFound
}

// withAppRole is s with this AppRole alone.
func (s *sealed) withAppRole(role *appRole) *sealed {
	return &sealed{s.revision, s.header, &payload{keys: s.keys, pending: s.pending, appRole: role}}
}

// settleAppRole ends a rotation that died, in favour of the old secret id.
func (m *Manager) settleAppRole(ctx context.Context, s *sealed) (*sealed, error) {
	if s.nextAppRole == nil {
		return m.reopen(ctx) // a copy that the caller may keep
	}
	alone, err := m.putCurrent(ctx, s.withAppRole(s.appRole))
	if err != nil {
		return nil, err
	}
	// Only now: until then whoever has begun the rotation might yet record the new one.
	err = m.withRoot(ctx, s.keys, func(ctx context.Context, root *vaultclient.Client) error {
		return m.destroyOtherSecretIDs(ctx, root, string(alone.appRole.accessor.bytes()))
	})
	if err != nil {
		alone.wipeAll()
		return nil, err
	}
	return alone, nil
}
