package seal

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// sharePrefix begins the names of the records that hold one share of the unseal key each.
const sharePrefix = "share-"

func shareName(set setID, number int) string {
	return fmt.Sprintf("%s%s-%03d", sharePrefix, set, number)
}

// spread returns s with the keys that it holds itself put into records of their own, if
// Config.ShareRecords asks for it. They form a set that nobody else writes, and are read
// back. The seal record does not name the set yet: who dies here leaves one that nobody
// needs, and the next put removes it.
func (m *Manager) spread(ctx context.Context, s *sealed, password *secret) (*sealed, error) {
	if len(m.cfg.ShareRecords) == 0 || s.header.state != stateReady {
		return s, nil
	}
	p := *s.payload
	for _, keys := range []**unsealKeys{&p.keys, &p.pending} {
		if *keys == nil || (*keys).set != "" {
			continue
		}
		set, err := m.putShares(ctx, s.header, *keys, password)
		if err != nil {
			return nil, err
		}
		*keys = &unsealKeys{threshold: (*keys).threshold, set: set, count: len((*keys).shares)}
	}
	return &sealed{s.revision, s.header, &p}, nil
}

func (m *Manager) putShares(ctx context.Context, header recordHeader, keys *unsealKeys, password *secret) (setID, error) {
	header.state = stateShare
	set := newAttemptID()
	for i, value := range keys.shares {
		number := i + 1
		data, err := sealRecord(&m.kdf, header, &payload{share: &share{set, number, value}}, password)
		if err != nil {
			return "", err
		}
		if _, err := m.shareRecords(number)[0].PutRecord(ctx, shareName(set, number), data, ""); err != nil {
			return "", fmt.Errorf("writing share %d of the unseal key: %w", number, err)
		}
		again, err := m.readShare(ctx, set, number, password)
		if err == nil && !again.equal(value) {
			err = atrest.ErrConflict
		}
		again.wipe()
		if err != nil {
			return "", fmt.Errorf("reading back share %d of the unseal key: %w", number, err)
		}
	}
	return set, nil
}

// shareRecords are where a share may be: first where it belongs, then, should the order of
// Config.ShareRecords have been another, the others.
func (m *Manager) shareRecords(number int) []backend.Records {
	at := (number - 1) % len(m.cfg.ShareRecords)
	return append(append([]backend.Records{}, m.cfg.ShareRecords[at:]...), m.cfg.ShareRecords[:at]...)
}

func (m *Manager) readShare(ctx context.Context, set setID, number int, password *secret) (*secret, error) {
	var failed error
	for _, records := range m.shareRecords(number) {
		stored, err := records.GetRecord(ctx, shareName(set, number))
		if err == nil {
			return m.openShare(stored.Data, set, number, password)
		}
		if !errors.Is(err, atrest.ErrNotFound) {
			failed = errors.Join(failed, err)
		}
	}
	if failed == nil {
		failed = fmt.Errorf("%w: %s", atrest.ErrRecordMissing, shareName(set, number))
	}
	return nil, failed
}

func (m *Manager) openShare(data []byte, set setID, number int, password *secret) (*secret, error) {
	r, err := parseRecord(data)
	if err != nil {
		return nil, err
	}
	p, err := r.open(&m.kdf, password)
	if err != nil {
		return nil, err
	}
	if p.share == nil || p.share.set != set || p.share.number != number {
		p.wipe()
		return nil, atrest.ErrCorruptRecord
	}
	return p.share.value, nil
}

// gather sees to it that keys has the shares that it takes.
func (m *Manager) gather(ctx context.Context, keys *unsealKeys) error {
	password := m.currentPassword()
	defer password.wipe()
	return m.gatherUpTo(ctx, keys, keys.threshold, password)
}

// gatherUpTo reads shares side by side until there are as many as wanted, or no more to be
// had. That it takes fewer of those that are slow or lost is what they are for. It is an
// error if there are fewer than the threshold.
func (m *Manager) gatherUpTo(ctx context.Context, keys *unsealKeys, wanted int, password *secret) error {
	if keys.set == "" || len(keys.shares) >= wanted {
		return nil
	}
	if len(m.cfg.ShareRecords) == 0 {
		return fmt.Errorf("%w: the shares of the unseal key are in records of their own, and Config.ShareRecords does not say where", atrest.ErrRecordMissing)
	}
	keys.wipe()
	keys.shares = nil
	type result struct {
		value *secret
		err   error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result, keys.count)
	for i := range keys.count {
		go func() {
			value, err := m.readShare(ctx, keys.set, i+1, password)
			results <- result{value, err}
		}()
	}
	var failed error
	for range keys.count {
		r := <-results
		switch {
		case len(keys.shares) >= wanted:
			r.value.wipe()
		case r.err != nil:
			failed = errors.Join(failed, r.err)
		default:
			keys.shares = append(keys.shares, r.value)
		}
		if len(keys.shares) >= wanted {
			cancel() // the rest ends now
		}
	}
	if got := len(keys.shares); got < keys.threshold {
		keys.wipe()
		keys.shares = nil
		return fmt.Errorf("%d of the %d shares of the unseal key can be read, and it takes %d: %w", got, keys.count, keys.threshold, failed)
	}
	if failed != nil {
		m.log.WarnContext(ctx, "shares of the unseal key can't be read; Rekey makes others", "error", failed)
	}
	return nil
}

// within returns keys with all shares that can be had in it, to be put anew.
func (m *Manager) within(ctx context.Context, keys *unsealKeys) (*unsealKeys, error) {
	password := m.currentPassword()
	defer password.wipe()
	if err := m.gatherUpTo(ctx, keys, keys.total(), password); err != nil {
		return nil, err
	}
	return &unsealKeys{threshold: keys.threshold, shares: keys.shares}, nil
}

// A storedShare is where a share is kept.
type storedShare struct {
	records backend.Records
	name    string
}

// listShares lists the shares that are there, as a put begins.
//
// Which of them nobody needs is known once the put is done. Another node that is about to
// name one of them read the seal record before this list was made, and its put, which
// compares and swaps, fails then.
func (m *Manager) listShares(ctx context.Context, s *sealed) (found []storedShare) {
	if s.header.state != stateReady {
		return nil
	}
	for _, records := range m.cfg.ShareRecords {
		for name, err := range records.ListRecords(ctx, sharePrefix) {
			if err != nil {
				m.log.WarnContext(ctx, "looking for shares of earlier unseal keys failed; they stay", "error", err)
				break
			}
			found = append(found, storedShare{records, name})
		}
	}
	return found
}

// removeShares removes those of the shares that the seal record does not name.
func (m *Manager) removeShares(ctx context.Context, found []storedShare, p *payload) {
	for _, share := range found {
		if p.names(share.name) {
			continue
		}
		if err := removeRecord(ctx, share.records, share.name); err != nil {
			m.log.WarnContext(ctx, "a share of an earlier unseal key stays", "record", share.name, "error", err)
		}
	}
}

func (p *payload) names(record string) bool {
	for _, keys := range []*unsealKeys{p.keys, p.pending} {
		if keys != nil && keys.set != "" && strings.HasPrefix(record, sharePrefix+string(keys.set)+"-") {
			return true
		}
	}
	return false
}

// removeRecord removes a record. One that is gone is as good.
func removeRecord(ctx context.Context, records backend.Records, name string) error {
	stored, err := records.GetRecord(ctx, name)
	if err == nil {
		err = records.DeleteRecord(ctx, name, stored.Revision)
	}
	if errors.Is(err, atrest.ErrNotFound) {
		return nil
	}
	return err
}
