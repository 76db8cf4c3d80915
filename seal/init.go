package seal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/vaultclient"
)

// defaultSaveTime is how long an initialiser tries to save the unseal key, whatever ctx
// says: without it the Vault that it has just made is lost.
const defaultSaveTime = 10 * time.Minute

// initialise takes an installation from nothing, or from wherever a run has died, to
// a record with the unseal key in it. In order:
//
//  1. an intent is recorded, so that whoever comes later knows that a Vault which
//     is initialised, and whose keys are not recorded, is ours and empty;
//  2. the password is put on disk;
//  3. sys/init;
//  4. its answer is recorded as a candidate, which nothing can conflict with;
//  5. the intent is replaced by the seal record, which is read back;
//  6. Vault is unsealed by what was read back, and the candidate removed.
//
// The lock makes this one node's at a time. Should it be lost, as when the connection to
// the database breaks, two nodes may come as far as 4, but 5 is compare-and-swap, and a
// candidate counts only if it unseals Vault.
func (m *Manager) initialise(ctx context.Context) (*sealed, error) {
	locked, unlock, err := m.cfg.Records.LockRecords(ctx, sealRecordName)
	if err != nil {
		return nil, fmt.Errorf("locking the records: %w", err)
	}
	defer unlock()
	s, err := m.reopen(locked)
	if err != nil {
		return nil, err
	}
	if s != nil {
		if err := m.keepLocal(locked, nil, &s.header); err != nil {
			return nil, err
		}
	}
	if s != nil && s.header.state == stateReady {
		return s, nil // another node was faster
	}
	status, err := m.sealStatus(locked)
	if err == nil && s != nil && !status.Initialized {
		// Whoever has recorded the intent may have died with its request still on its
		// way, which Vault carries out.
		if err = sleep(locked, m.cfg.InitGrace); err == nil {
			status, err = m.sealStatus(locked)
		}
	}
	switch {
	case err != nil:
		return nil, err
	case s == nil && status.Initialized:
		return nil, fmt.Errorf("%w: there is no seal record, so it was by somebody else, or with another database. Boot needs a Vault that is not initialised, or whose keys it has recorded itself",
			atrest.ErrAlreadyInitialized)
	case status.Initialized:
		return m.recoverInit(locked, s)
	}
	return m.firstInit(locked, s)
}

// firstInit is for a Vault that is not initialised.
func (m *Manager) firstInit(ctx context.Context, s *sealed) (*sealed, error) {
	if err := checkShareRecords(m.cfg.ShareRecords, m.cfg.Shares, m.cfg.Threshold); err != nil {
		return nil, err
	}
	s, err := m.putIntent(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := m.keepLocal(ctx, nil, &s.header); err != nil {
		return nil, err
	}
	answer, err := m.sysInit(ctx)
	if errors.Is(err, errAlreadyInitialized) {
		return m.recoverInit(ctx, s)
	}
	if err != nil {
		return nil, err
	}
	defer answer.wipe()
	keys := answer.unsealKeys(m.cfg.Threshold)
	defer keys.wipe()
	ready, ours, err := m.save(ctx, s, keys)
	if err != nil {
		return nil, err
	}
	defer ready.wipeAll()
	m.removeCandidates(ctx)
	if !ours {
		return m.finish(ctx, ready) // the root token is nobody's either
	}
	return m.setUpAs(ctx, ready, answer.RootToken)
}

// save makes the keys the record's. If they are not Vault's in the end, it looks for those that
// are, which are not ours then.
func (m *Manager) save(ctx context.Context, s *sealed, keys *unsealKeys) (ready *sealed, ours bool, err error) {
	if err := m.putCandidate(ctx, s, keys); err != nil {
		return nil, false, fmt.Errorf("%w: the unseal key could not be saved: %w", atrest.ErrInitInterrupted, err)
	}
	// Should two Vaults on one storage have answered, one of the keys is nobody's.
	err = m.proveKeys(ctx, keys)
	switch {
	case errors.Is(err, atrest.ErrWrongUnsealKey):
		ready, err = m.recoverInit(ctx, s)
		return ready, false, err
	case err != nil:
		return nil, false, err
	}
	ready, err = m.promote(ctx, s, keys)
	return ready, true, err
}

// putIntent records that a Vault is about to be initialised.
func (m *Manager) putIntent(ctx context.Context, s *sealed) (*sealed, error) {
	intent := &sealed{payload: &payload{attempt: newAttemptID()}}
	defer m.noteGeneration(1)
	if s == nil {
		intent.header = recordHeader{install: newInstallID(), generation: 1, state: stateIntent, params: m.cfg.Argon2id, salt: newSalt()}
	} else { // another run's, which has come to nothing
		intent.header, intent.revision = s.header, s.revision
	}
	return m.putCurrent(ctx, intent)
}

// putCandidate saves the keys under a name of their own, whatever becomes of ctx: nobody
// else has them.
func (m *Manager) putCandidate(ctx context.Context, s *sealed, keys *unsealKeys) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.saveTime)
	defer cancel()
	candidate := &sealed{header: s.header, payload: &payload{attempt: s.attempt, keys: keys}}
	candidate.header.state = stateCandidate
	password := m.currentPassword()
	defer password.wipe()
	_, err := m.store(ctx, candidateName(s.attempt), candidate, password)
	return err
}

// promote makes the seal record of the intent.
func (m *Manager) promote(ctx context.Context, s *sealed, keys *unsealKeys) (*sealed, error) {
	header := s.header
	header.state = stateReady
	password := m.currentPassword()
	defer password.wipe()
	kept, err := m.spread(ctx, header, keys, password)
	if err != nil {
		return nil, err
	}
	return m.put(ctx, &sealed{revision: s.revision, header: header, payload: &payload{keys: kept}}, password)
}

// recoverInit is for a Vault that is initialised while the record is an intent: if
// one of the candidates is its key, that becomes the record's.
func (m *Manager) recoverInit(ctx context.Context, s *sealed) (*sealed, error) {
	names, err := m.candidates(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		keys, err := m.openCandidate(ctx, name)
		if errors.Is(err, atrest.ErrCorruptRecord) || errors.Is(err, atrest.ErrWrongPassword) || errors.Is(err, atrest.ErrNotFound) || errors.Is(err, atrest.ErrTampered) {
			m.log.WarnContext(ctx, "a record of an earlier initialisation can't be used", "record", name, "error", err)
			continue
		}
		if err != nil { // and it may be the one that counts
			return nil, fmt.Errorf("the record %q of an earlier initialisation: %w", name, err)
		}
		defer keys.wipe()
		err = m.proveKeys(ctx, keys)
		if errors.Is(err, atrest.ErrWrongUnsealKey) {
			continue
		}
		if err != nil {
			return nil, err
		}
		ready, err := m.promote(ctx, s, keys)
		if err == nil {
			m.removeCandidates(ctx)
		}
		return ready, err
	}
	return nil, fmt.Errorf("%w: a run of ours began to initialise Vault, and Vault is initialised, but no unseal key was saved that fits. "+
		"ResetInterrupted looks whether it is empty, and begins anew if so. If Vault has data, this seal record is an old one: restore the right one", atrest.ErrInitInterrupted)
}

// proveKeys returns ErrWrongUnsealKey unless the keys are Vault's. One that is
// sealed is unsealed by that; one that is not makes a root token of them.
func (m *Manager) proveKeys(ctx context.Context, keys *unsealKeys) error {
	was, err := m.unsealWith(ctx, keys)
	if err == nil {
		err = m.awaitLeader(ctx)
	}
	if err != nil || was {
		return err
	}
	return m.proveByRoot(ctx, keys)
}

// proveByRoot returns ErrWrongUnsealKey unless the keys are those of a Vault that is
// unsealed, by making a root token of them, and revoking it.
func (m *Manager) proveByRoot(ctx context.Context, keys *unsealKeys) error {
	return m.withRoot(ctx, keys, func(context.Context, *vaultclient.Client) error { return nil })
}

func candidateName(a attemptID) string { return candidatePrefix + string(a) }

func (m *Manager) candidates(ctx context.Context) (names []string, err error) {
	for name, err := range m.cfg.Records.ListRecords(ctx, candidatePrefix) {
		if err != nil {
			return nil, fmt.Errorf("looking for what an earlier run has saved: %w", err)
		}
		names = append(names, name)
	}
	return names, nil
}

func (m *Manager) openCandidate(ctx context.Context, name string) (*unsealKeys, error) {
	stored, err := m.cfg.Records.GetRecord(ctx, name)
	if err != nil {
		return nil, err
	}
	r, err := parseRecord(stored.Data)
	if err != nil {
		return nil, err
	}
	password := m.currentPassword()
	defer password.wipe()
	p, err := r.open(&m.kdf, password)
	if err != nil {
		return nil, err
	}
	if r.state != stateCandidate || candidateName(p.attempt) != name {
		p.wipe()
		return nil, atrest.ErrCorruptRecord
	}
	return p.keys, nil
}

// removeCandidates removes what has served, once the record's key has been proven to be Vault's.
// What stays holds the whole unseal key under the password of that time: whatever proves the key
// again tries again.
func (m *Manager) removeCandidates(ctx context.Context) {
	names, err := m.candidates(ctx)
	for _, name := range names {
		err = errors.Join(err, removeRecord(ctx, m.cfg.Records, name))
	}
	if err != nil {
		m.log.WarnContext(ctx, "a record of the initialisation stays", "error", err)
	}
}
