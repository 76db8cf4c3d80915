package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

const (
	// sealRecordName is the name of the record that holds the unseal key.
	sealRecordName = "seal"

	// candidatePrefix begins the names of the records that hold what sys/init returned,
	// before it is known that it is the Vault's in the end.
	candidatePrefix = "init-"
)

// A sealed is the seal record as it was found, opened.
type sealed struct {
	revision backend.Revision
	header   recordHeader
	*payload
}

// put replaces what is there, of s's revision, by s's header and payload, and reads
// it back: what is returned was opened from the record as it is stored. The salt
// is that of before, so that no new key has to be computed; it changes with the
// password.
func (m *Manager) put(ctx context.Context, s *sealed, password *secret) (*sealed, error) {
	revision, err := m.store(ctx, sealRecordName, s, password)
	if err != nil {
		return nil, fmt.Errorf("writing the seal record: %w", err)
	}
	stored, err := m.cfg.Records.GetRecord(ctx, sealRecordName)
	if err != nil {
		return nil, fmt.Errorf("reading back the seal record: %w", err)
	}
	if stored.Revision != revision {
		return nil, fmt.Errorf("reading back the seal record: %w", atrest.ErrConflict)
	}
	r, err := parseRecord(stored.Data)
	if err != nil {
		return nil, fmt.Errorf("reading back the seal record: %w", err)
	}
	p, err := r.open(&m.kdf, password)
	if err != nil {
		return nil, fmt.Errorf("reading back the seal record: %w", err)
	}
	return &sealed{revision, r.recordHeader, p}, nil
}

// store writes a record, and tries again, until ctx ends, after an error that leaves open
// whether it was written: what is there then tells. A candidate it tries to write after any
// error, for what that holds is nowhere else.
func (m *Manager) store(ctx context.Context, name string, s *sealed, password *secret) (backend.Revision, error) {
	data, err := sealRecord(&m.kdf, s.header, s.payload, password)
	if err != nil {
		return "", err
	}
	var open error // of the first try that left open whether it was done
	for n := 1; ; n++ {
		revision, err := m.cfg.Records.PutRecord(ctx, name, data, s.revision)
		if err == nil {
			return revision, nil
		}
		stored, readErr := m.cfg.Records.GetRecord(ctx, name)
		if readErr == nil && bytes.Equal(stored.Data, data) {
			return stored.Revision, nil // the nonce is random: only we have written it
		}
		refused := errors.Is(err, atrest.ErrExists) || errors.Is(err, atrest.ErrConflict)
		switch known := readErr == nil || errors.Is(readErr, atrest.ErrNotFound); {
		case refused && (open == nil || known):
			return "", err
		case !refused && !errors.Is(err, atrest.ErrUnavailable) && open == nil && s.header.state != stateCandidate:
			return "", err // and nothing was changed
		case !refused && open == nil:
			open = err
		}
		m.log.WarnContext(ctx, "writing a record failed, trying again", "record", name, "try", n, "error", err)
		if sleep(ctx, min(time.Duration(n)*100*time.Millisecond, 5*time.Second)) != nil {
			return "", errors.Join(err, ctx.Err())
		}
	}
}

// putCurrent is put under the password in m.
func (m *Manager) putCurrent(ctx context.Context, s *sealed) (*sealed, error) {
	password := m.currentPassword()
	defer password.wipe()
	return m.put(ctx, s, password)
}

// reopen opens the record as it is now with the password in m; nil if there is none.
func (m *Manager) reopen(ctx context.Context) (*sealed, error) {
	stored, err := m.cfg.Records.GetRecord(ctx, sealRecordName)
	if errors.Is(err, atrest.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the seal record: %w", err)
	}
	r, err := parseRecord(stored.Data)
	if err != nil {
		return nil, err
	}
	password := m.currentPassword()
	defer password.wipe()
	p, err := r.open(&m.kdf, password)
	if _, generation := m.hasPassword(); err != nil && generation > 0 && r.generation > generation {
		return nil, fmt.Errorf("%w: the seal record has generation %d, this process has %d", atrest.ErrStalePassword, r.generation, generation)
	}
	if err != nil {
		return nil, err
	}
	return &sealed{stored.Revision, r.recordHeader, p}, nil
}

// locked calls f with the record of an installation that is initialised, and of which
// it is known what unseals Vault, under the lock.
func (m *Manager) locked(ctx context.Context, f func(ctx context.Context, s *sealed) error) error {
	if have, _ := m.hasPassword(); !have {
		s, err := m.open(ctx, nil)
		s.wipeAll()
		if err != nil {
			return err
		}
	}
	held, unlock, err := m.cfg.Records.LockRecords(ctx, sealRecordName)
	if err != nil {
		return fmt.Errorf("locking the records: %w", err)
	}
	defer unlock()
	s, err := m.reopen(held)
	if err != nil {
		return err
	}
	defer s.wipeAll()
	if s == nil || s.header.state != stateReady {
		return fmt.Errorf("%w: boot first", atrest.ErrRecordMissing)
	}
	settled, err := m.settleKeys(held, s)
	if err != nil {
		return err
	}
	defer settled.wipeAll()
	if local, err := m.readLocal(held); err == nil {
		err = m.keepLocal(held, local, &settled.header)
		local.wipe()
		if err != nil {
			return err
		}
	}
	return f(held, settled)
}
