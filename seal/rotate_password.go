package seal

import (
	"bytes"
	"context"
	"fmt"

	"github.com/atrest/atrest"
)

// ChangePassword replaces the Encryption Password of the installation. The other nodes
// go on working until they boot again or change something, which fails with
// ErrStalePassword until they Adopt the new one. A backup of the seal record from before
// still takes the old one, and so do shares in records of their own until the change after this.
// The unseal key stays what it is: where the old password has become known, Rekey as well.
//
// In order, a death after each step leaving what the next boot understands:
//
//  1. the new password goes to disk beside the old one;
//  2. the record is replaced by one under the new password, of the next generation;
//  3. the old password is dropped from disk.
//
// Errors are those of Boot, and ErrConflict if another node has changed the record at
// the same time. After any error the old password may still be in force, or the new
// one: keep both until a boot, or another call, has succeeded, which finds out.
func (m *Manager) ChangePassword(ctx context.Context, password []byte) error {
	return m.exclusive(ctx, "change password", func() error { return m.changePassword(ctx, password) })
}

func (m *Manager) changePassword(ctx context.Context, password []byte) error {
	if err := checkPassword(password); err != nil {
		return err
	}
	next := newSecret(bytes.Clone(password))
	defer next.wipe()
	return m.locked(ctx, func(ctx context.Context, s *sealed) error {
		old := m.currentPassword()
		defer old.wipe()
		if old.equal(next) {
			return fmt.Errorf("%w: it is the present one", atrest.ErrWeakPassword)
		}
		f := &passwordFile{install: s.header.install, generation: s.header.generation, password: old, pending: next}
		if err := m.writeLocal(ctx, f); err != nil {
			return err
		}
		stored := m.listShares(ctx)
		header := s.header
		header.generation++
		header.salt, header.params = newSalt(), m.cfg.Argon2id
		keys, err := m.within(ctx, s.keys)
		if err == nil {
			keys, err = m.spread(ctx, header, keys, next)
		}
		if err != nil {
			return err
		}
		done, err := m.put(ctx, &sealed{s.revision, header, &payload{keys: keys, appRole: s.appRole, nextAppRole: s.nextAppRole}}, next)
		if err != nil {
			// The record may be under the new one, or come to be. Both stay on disk, and
			// the next boot finds out.
			return err
		}
		defer done.wipeAll()
		m.setPassword(next, done.header.generation)
		m.log.InfoContext(ctx, "the encryption password was changed", "generation", done.header.generation)
		if err := m.writeLocal(ctx, &passwordFile{install: done.header.install, generation: done.header.generation, password: next}); err != nil {
			return err
		}
		return m.forgetOld(ctx, stored, done, s.keys)
	})
}

// forgetOld removes what only the old password opens: candidates, and shares but for those
// that the record named before. It proves the key before, and does not if there is nothing to
// remove.
func (m *Manager) forgetOld(ctx context.Context, stored []storedShare, done *sealed, before *unsealKeys) error {
	left, err := m.candidates(ctx)
	if err != nil {
		return err
	}
	if len(left) == 0 && len(stored) == 0 {
		return nil
	}
	proving, cancel := context.WithTimeout(ctx, m.proveTime)
	defer cancel()
	if err := m.proveByRoot(proving, done.keys); err != nil {
		m.log.WarnContext(ctx, "what the old password opens stays until the next change, for the unseal key could not be proven", "error", err)
		return nil
	}
	m.sweepShares(ctx, stored, done.header.install, done.keys, before)
	m.removeCandidates(ctx)
	return nil
}

// Adopt takes the installation's password after another node has changed it, or on
// a machine that has lost it. It must open the seal record, and is then kept on disk.
// Vault is not asked.
func (m *Manager) Adopt(ctx context.Context, password []byte) error {
	if password == nil {
		password = []byte{} // which opens nothing
	}
	return m.exclusive(ctx, "adopt", func() error {
		s, err := m.open(ctx, password)
		if err == nil && s == nil {
			err = fmt.Errorf("%w: there is no installation yet; boot", atrest.ErrRecordMissing)
		}
		s.wipeAll()
		return err
	})
}
