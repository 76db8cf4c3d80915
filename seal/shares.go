package seal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// sharePrefix begins the names of the records that hold one share of the unseal key each.
const sharePrefix = "share-"

func shareName(set setID, number int) string {
	return fmt.Sprintf("%s%s-%03d", sharePrefix, set, number)
}

// spread returns keys as they are to be in the seal record: as they are, or, if
// Config.ShareRecords says so, as the name of a set of records that now hold the shares. Nobody
// else writes that set. It has been read back; but nothing names it yet, so that who dies
// here leaves a set that sweepShares will find.
func (m *Manager) spread(ctx context.Context, header recordHeader, keys *unsealKeys, password *secret) (*unsealKeys, error) {
	if len(m.cfg.ShareRecords) == 0 {
		return keys, nil
	}
	if err := checkShareRecords(m.cfg.ShareRecords, len(keys.shares), keys.threshold); err != nil {
		return nil, err
	}
	set := newAttemptID()
	for i, value := range keys.shares {
		store := m.shareStores()[i%len(m.cfg.ShareRecords)]
		if err := m.putShare(ctx, store, header, &share{set, i + 1, value}, password); err != nil {
			return nil, fmt.Errorf("writing share %d of the unseal key to %s: %w; if that database is lost, put another in its place", i+1, store.name, err)
		}
	}
	return &unsealKeys{threshold: keys.threshold, set: set, count: len(keys.shares), header: &header}, nil
}

func (m *Manager) putShare(ctx context.Context, store shareStore, header recordHeader, s *share, password *secret) error {
	header.state = stateShare
	data, err := sealRecord(&m.kdf, header, &payload{share: s}, password)
	if err != nil {
		return err
	}
	if err := store.put(ctx, shareName(s.set, s.number), data); err != nil {
		return err
	}
	stored, err := store.get(ctx, shareName(s.set, s.number))
	if err != nil {
		return err
	}
	again, err := m.openShare(stored.Data, &header, s.set, s.number, password)
	defer again.wipe()
	if err == nil && !again.equal(s.value) {
		err = atrest.ErrConflict
	}
	return err
}

// openShare opens a record that is to hold a share of the set that a record with this header
// names. Both are written with the same header, so that one with another is refused
// before anything is computed of what it says.
func (m *Manager) openShare(data []byte, header *recordHeader, set setID, number int, password *secret) (*secret, error) {
	r, err := parseRecord(data)
	if err != nil {
		return nil, err
	}
	want := *header
	want.state = stateShare
	if r.recordHeader != want {
		return nil, fmt.Errorf("%w: not of this seal record", atrest.ErrCorruptRecord)
	}
	p, err := r.open(&m.kdf, password)
	if err != nil {
		return nil, err
	}
	if p.share.set != set || p.share.number != number {
		p.wipe()
		return nil, fmt.Errorf("%w: another share", atrest.ErrCorruptRecord)
	}
	return p.share.value, nil
}

// readShare asks all databases for a share at once, since it may be in any, should Config have
// been another, and some may not answer. Where it belongs counts first.
func (m *Manager) readShare(ctx context.Context, stores []shareStore, first int, keys *unsealKeys, number int, password *secret) (*secret, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		data []byte
		err  error
	}
	answers := make([]chan answer, len(stores))
	for i, store := range stores {
		answers[i] = make(chan answer, 1)
		go func() {
			stored, err := store.get(ctx, shareName(keys.set, number))
			answers[i] <- answer{stored.Data, err}
		}()
	}
	var failed error
	for i := range stores {
		at := (first + i) % len(stores)
		a := <-answers[at]
		var value *secret
		if a.err == nil {
			value, a.err = m.openShare(a.data, keys.header, keys.set, number, password)
		}
		if a.err == nil {
			return value, nil
		}
		if failed == nil && !errors.Is(a.err, atrest.ErrNotFound) {
			failed = fmt.Errorf("%s: %w", stores[at].name, a.err)
		}
	}
	if failed == nil {
		failed = fmt.Errorf("%w: %s", atrest.ErrRecordMissing, shareName(keys.set, number))
	}
	return nil, failed
}

// errFewShares means that not enough shares could be read.
var errFewShares = errors.New("shares of the unseal key can't be read")

// gather sees to it that keys has the shares that it takes.
func (m *Manager) gather(ctx context.Context, keys *unsealKeys) error {
	password := m.currentPassword()
	defer password.wipe()
	return m.gatherUpTo(ctx, keys, keys.threshold, password)
}

// A gathered share, or why there is none.
type gathered struct {
	number int
	value  *secret
	err    error
}

// gatherUpTo reads shares side by side until there are as many as wanted, or no more to be
// had. Those that are slow or lost are then done without. It is an error if there are fewer
// than the threshold.
func (m *Manager) gatherUpTo(ctx context.Context, keys *unsealKeys, wanted int, password *secret) error {
	if keys.set == "" || len(keys.shares) >= wanted {
		return nil
	}
	if len(m.shareStores()) == 0 {
		return fmt.Errorf("%w: %w: they are in records of their own, and Config.ShareRecords does not say where", errFewShares, atrest.ErrRecordMissing)
	}
	// Even a database that does not hear of the end of a call's time holds up nobody.
	ctx, cancel := context.WithTimeoutCause(ctx, 3*m.shareTime, fmt.Errorf("%w: no answer", atrest.ErrUnavailable))
	results := m.readShares(ctx, keys, password)
	var got []gathered
	var failed []error
	for left := keys.count; left > 0; left-- {
		r, err := receive(ctx, results)
		switch {
		case err != nil:
			failed = append(failed, err)
		case r.err != nil:
			failed = append(failed, fmt.Errorf("share %d: %w", r.number, r.err))
		default:
			got = append(got, r)
		}
		if err != nil {
			go wipeLate(results, left)
			break
		}
		if len(got) == wanted {
			go wipeLate(results, left-1)
			break
		}
	}
	cancel()
	return m.keepShares(ctx, keys, got, failed)
}

// keepShares puts what was gathered into keys, in the order of their numbers.
func (m *Manager) keepShares(ctx context.Context, keys *unsealKeys, got []gathered, failed []error) error {
	slices.SortFunc(got, func(a, b gathered) int { return a.number - b.number })
	shares := make([]*secret, len(got))
	for i, r := range got {
		shares[i] = r.value
	}
	if len(shares) < keys.threshold {
		for _, s := range shares {
			s.wipe()
		}
		return fmt.Errorf("%w: %d of %d can, and it takes %d: %w", errFewShares, len(shares), keys.count, keys.threshold, few(failed))
	}
	keys.wipe()
	keys.shares = shares
	if len(failed) > 0 {
		m.log.WarnContext(ctx, "shares of the unseal key can't be read; if their database is lost, put another in its place in Config.ShareRecords, and Rekey", "error", few(failed))
	}
	return nil
}

func (m *Manager) readShares(ctx context.Context, keys *unsealKeys, password *secret) <-chan gathered {
	results := make(chan gathered, keys.count)
	stores, inUse := m.shareStores(), max(len(m.cfg.ShareRecords), 1)
	named := &unsealKeys{set: keys.set, header: keys.header} // keys itself is written to by whoever gathers
	for number := 1; number <= keys.count; number++ {
		password := password.clone() // a call may outlast this one
		go func() {
			defer password.wipe()
			value, err := m.readShare(ctx, stores, (number-1)%inUse, named, number, password)
			results <- gathered{number, value, err}
		}()
	}
	return results
}

// receive does not wait longer than ctx for a database that does.
func receive(ctx context.Context, results <-chan gathered) (gathered, error) {
	select {
	case r := <-results:
		return r, nil
	case <-ctx.Done():
		return gathered{}, context.Cause(ctx)
	}
}

// wipeLate wipes the shares that come after enough have.
func wipeLate(results <-chan gathered, left int) {
	for range left {
		(<-results).value.wipe()
	}
}

// few joins errors into one line, of which there may be 255.
func few(errs []error) error {
	const most = 3
	if len(errs) <= most {
		return oneLine(errs)
	}
	return fmt.Errorf("%w, and %d more", oneLine(errs[:most]), len(errs)-most)
}

func oneLine(errs []error) error {
	all := errs[0]
	for _, err := range errs[1:] {
		all = fmt.Errorf("%w; %w", all, err)
	}
	return all
}

// within returns keys with its shares in it, to be written anew. It wants all of them:
// who did with fewer would give up what the others are there for.
func (m *Manager) within(ctx context.Context, keys *unsealKeys) (*unsealKeys, error) {
	password := m.currentPassword()
	defer password.wipe()
	if err := m.gatherUpTo(ctx, keys, keys.total(), password); err != nil {
		return nil, err
	}
	if lost := keys.total() - len(keys.shares); lost > 0 {
		return nil, fmt.Errorf("%w: %w: %d of %d, which would be lost for good; if their database is, put another in its place in Config.ShareRecords, and Rekey first",
			errFewShares, atrest.ErrUnavailable, lost, keys.total())
	}
	return &unsealKeys{threshold: keys.threshold, shares: keys.shares}, nil
}

// A storedShare is where a share is kept.
type storedShare struct {
	store shareStore
	name  string
}

// listShares lists the shares that are there as a change begins, before it writes any.
func (m *Manager) listShares(ctx context.Context) (found []storedShare) {
	for _, store := range m.shareStores() {
		names, err := store.list(ctx)
		if err != nil {
			m.log.WarnContext(ctx, "looking for shares of earlier unseal keys failed; they stay", "where", store.name, "error", err)
		}
		for _, name := range names {
			found = append(found, storedShare{store, name})
		}
	}
	return found
}

// sweepShares removes those of the shares found that are this installation's and of none of
// these sets: those of the key before last, and of runs that died.
//
// Three things make sure that nobody needs them. The present key is in one of the sets, and has
// been proven to be Vault's. Another node that is about to name one of them has read the
// seal record before ours was written, and fails to replace it. And the set that the record
// before named is kept once more, should the database lose its last moments.
func (m *Manager) sweepShares(ctx context.Context, found []storedShare, install installID, keep ...*unsealKeys) {
	silent := map[string]bool{} // databases that don't answer
	for _, share := range found {
		named := func(k *unsealKeys) bool {
			return k != nil && k.set != "" && strings.HasPrefix(share.name, sharePrefix+string(k.set)+"-")
		}
		if silent[share.store.name] || slices.ContainsFunc(keep, named) {
			continue
		}
		if err := removeShare(ctx, share, install); err != nil {
			silent[share.store.name] = errors.Is(err, atrest.ErrUnavailable)
			m.log.WarnContext(ctx, "a share of an earlier unseal key stays", "where", share.store.name, "record", share.name, "error", err)
		}
	}
}

// removeShare removes a record if it is a share of that installation.
func removeShare(ctx context.Context, s storedShare, install installID) error {
	stored, err := s.store.get(ctx, s.name)
	if errors.Is(err, atrest.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	r, err := parseRecord(stored.Data)
	if err != nil || r.state != stateShare || r.install != install {
		return nil // somebody else's
	}
	return s.store.remove(ctx, s.name, stored.Revision)
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
