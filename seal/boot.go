package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/atrest/atrest"
)

// Boot ends with an unsealed Vault that is set up, and a service logged in to it,
// whatever it starts from: an empty database, a Vault that was restarted, a run that
// died at any step, a new machine. Many nodes may call it at once.
//
// password is the Encryption Password. It is needed on an installation's first boot,
// on a new machine, and when the instance key or the password file has been
// lost; else none, nil or empty, takes the one on disk. One that is given must open the
// seal record, and is then kept on disk. Boot copies it.
//
// With a password, and a database that has no seal record, Boot begins a new installation,
// unless this machine has belonged to another. On a new machine of an installation that is
// to be there, Recover does not.
//
// Errors: ErrPasswordMissing, which is ErrRecordMissing too where there is no installation
// yet, ErrWrongPassword, ErrStalePassword, ErrWeakPassword,
// ErrInstanceKeyMissing, ErrWrongInstanceKey, ErrUnsafePermissions, ErrCorruptRecord,
// ErrOtherInstallation, ErrRecordMissing, ErrAlreadyInitialized, ErrInitInterrupted,
// ErrWrongUnsealKey, and those of Vault and of the records: ErrVaultUnavailable,
// ErrVaultSealed, ErrPermission, ErrUnavailable. After an error Boot may be called
// again.
func (m *Manager) Boot(ctx context.Context, password []byte) error {
	return m.exclusive(ctx, "boot", func() error { return m.boot(ctx, password) })
}

// Recover is Boot on a new machine of an installation that exists, with its database and its
// Encryption Password: where Boot would begin a new one, it returns ErrRecordMissing, and
// changes nothing. A first boot that died is no installation yet but one in the making,
// which it ends.
func (m *Manager) Recover(ctx context.Context, password []byte) error {
	return m.exclusive(ctx, "recover", func() error {
		_, err := m.cfg.Records.GetRecord(ctx, sealRecordName)
		switch {
		case errors.Is(err, atrest.ErrNotFound):
			return fmt.Errorf("%w: there is no installation in this database; is it the right one, and restored from a backup that has all of it?", atrest.ErrRecordMissing)
		case err != nil:
			return fmt.Errorf("reading the seal record: %w", err)
		}
		return m.boot(ctx, password)
	})
}

func (m *Manager) boot(ctx context.Context, password []byte) error {
	if len(password) == 0 {
		password = nil
	}
	s, err := m.open(ctx, password)
	if err != nil {
		return err
	}
	defer func() { s.wipeAll() }()
	if s == nil || s.header.state == stateIntent {
		if s, err = m.initialise(ctx); err != nil {
			return err
		}
	}
	err = m.unseal(ctx, s)
	if errors.Is(err, errFewShares) { // a change may have replaced them since s was read
		if now, readErr := m.reopen(ctx); readErr == nil && now != nil && now.revision != s.revision {
			s.wipeAll()
			s, err = now, m.unseal(ctx, now)
		}
	}
	if err != nil {
		return err
	}
	if s.appRole == nil || s.pending != nil || s.nextAppRole != nil {
		s.wipeAll()
		err = m.locked(ctx, func(ctx context.Context, now *sealed) error {
			s, err = m.finish(ctx, now)
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := m.login(ctx, s.appRole); err != nil {
		return err
	}
	return m.repairPolicy(ctx, s.appRole)
}

func (s *sealed) wipeAll() {
	if s != nil {
		s.payload.wipe()
	}
}

// open finds the password and opens the seal record with it; nil if there is no
// record. Afterwards the password is in m, and on disk if there is a record.
func (m *Manager) open(ctx context.Context, given []byte) (*sealed, error) {
	local, err := m.readLocal(ctx)
	if err != nil && (given == nil || !isRepairable(err)) {
		return nil, m.tellNew(ctx, err)
	}
	defer local.wipe()
	stored, err := m.cfg.Records.GetRecord(ctx, sealRecordName)
	if errors.Is(err, atrest.ErrNotFound) {
		return nil, m.firstPassword(local, given)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the seal record: %w", err)
	}
	r, err := parseRecord(stored.Data)
	if err != nil {
		return nil, err
	}
	if local != nil && local.install != r.install {
		return nil, fmt.Errorf("%w: the seal record is of installation %s, the password file of %s; a machine that is to change over to another installation needs its password file removed",
			atrest.ErrOtherInstallation, r.install, local.install)
	}
	p, err := m.tryPasswords(r, local, given)
	if err != nil {
		return nil, err
	}
	if given == nil && local.pending != nil {
		// A change of the password may be under way in another process on this machine.
		// Either password is on disk; who has the lock drops the one that has served.
		return &sealed{stored.Revision, r.recordHeader, p}, nil
	}
	if err := m.keepLocal(ctx, local, &r.recordHeader); err != nil {
		p.wipe()
		return nil, err
	}
	return &sealed{stored.Revision, r.recordHeader, p}, nil
}

// tellNew adds to the error of a machine without a password whether that is because there
// is no installation yet.
func (m *Manager) tellNew(ctx context.Context, err error) error {
	if !errors.Is(err, atrest.ErrPasswordMissing) {
		return err
	}
	_, readErr := m.cfg.Records.GetRecord(ctx, sealRecordName)
	switch {
	case errors.Is(readErr, atrest.ErrNotFound):
		return fmt.Errorf("%w, and %w: to begin an installation, boot with a new Encryption Password", err, atrest.ErrRecordMissing)
	case readErr == nil:
		return fmt.Errorf("%w: boot with the Encryption Password of the installation", err)
	}
	return errors.Join(err, readErr)
}

// isRepairable tells errors of the password file that who knows the password can
// do without.
func isRepairable(err error) bool {
	return errors.Is(err, atrest.ErrPasswordMissing) || errors.Is(err, atrest.ErrWrongInstanceKey) || errors.Is(err, atrest.ErrCorruptRecord)
}

// firstPassword takes the password of an installation that is to come.
func (m *Manager) firstPassword(local *passwordFile, given []byte) error {
	if local != nil {
		return fmt.Errorf("%w: this machine belongs to installation %s, of which there is no seal record: is this the right database? If so, restore the record from a backup; "+
			"only if nothing of the installation is to be kept, remove the password file %s and begin anew", atrest.ErrRecordMissing, local.install, m.cfg.PasswordFile)
	}
	if err := checkPassword(given); err != nil {
		return err
	}
	m.setPassword(newSecret(bytes.Clone(given)), 0)
	return nil
}

// tryPasswords opens the record with the password that was given, or else with
// the one of those on disk that fits it, and keeps that one in m.
func (m *Manager) tryPasswords(r *record, local *passwordFile, given []byte) (*payload, error) {
	password := newSecret(bytes.Clone(given))
	defer func() { password.wipe() }()
	if given == nil {
		fits, err := r.passwordFrom(local)
		if err != nil {
			return nil, err
		}
		password = fits.clone()
	}
	p, err := r.open(&m.kdf, password)
	if err != nil {
		return nil, err
	}
	m.setPassword(password, r.generation)
	return p, nil
}
