package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// errSameObjects ends a migration whose destination turns out to be its source.
var errSameObjects = errors.New("source and destination reach the same objects by two handles: give both Stores one Backend, and they are rewritten in place")

// A transfer brings one object over. It goes round and round: look at the
// source, look at the destination, put, and look at the source again. Each round
// begins with what is there, whatever the last one has done or failed to do.
type transfer struct {
	*migration
	name string

	// The object in dst that is our doing, if there is one.
	ours    Version
	header  []byte  // that we have put it with
	copied  Version // of the source that it is a copy of
	created bool    // there was none of that name before

	tried   bool   // a put has been sent, whose answer may have been lost
	sent    []byte // the header of the last one, if its answer was an error
	changed bool   // the source has, under our hands
	size    int64  // of the source's body when last seen
}

// A fate is what became of an object. The zero fate is none yet.
type fate int

const (
	copied fate = iota + 1
	skipped
	gone
)

// object brings one object over.
func (m *migration) object(ctx context.Context, entry backend.Entry) *step {
	t := &transfer{migration: m, name: entry.Name}
	s := &step{names: []string{entry.Name}}
	f, err := t.run(ctx, entry)
	if t.changed {
		s.counts.Changed = 1
	}
	switch {
	case err != nil:
		s.settle(ctx, entry.Name, err)
	case f == copied:
		s.counts.Copied, s.counts.CopiedBytes = 1, t.size
	case f == skipped:
		s.counts.Skipped, s.counts.SkippedBytes = 1, t.size
	case f == gone:
		s.counts.Gone = 1
		s.gone = []string{entry.Name}
	}
	return s
}

func (t *transfer) run(ctx context.Context, entry backend.Entry) (fate, error) {
	source := &entry // which saves the first look, if it has what we need
	for range attempts {
		if source == nil || source.Header == nil || source.Version == "" {
			var err error
			if source, err = look(ctx, t.src, t.name); err != nil {
				return 0, t.unknown(ctx, fmt.Errorf("source: %w", err))
			}
		}
		f, err := t.round(ctx, source)
		if f != 0 || err != nil {
			return f, t.clean(ctx, err)
		}
		source = nil
	}
	return 0, t.clean(ctx, fmt.Errorf("%w again and again", atrest.ErrConflict))
}

// look returns what is there now, without the body, or nil.
func look(ctx context.Context, s *Store, name string) (*backend.Entry, error) {
	entry := &backend.Entry{Name: name}
	if missing, err := s.complete(ctx, entry); missing || err != nil {
		return nil, err
	}
	return entry, nil
}

// round does what the source as it is calls for. It returns no fate and no error
// if that has to be looked at again.
func (t *transfer) round(ctx context.Context, source *backend.Entry) (fate, error) {
	if source == nil {
		if err := t.claim(ctx); err != nil {
			return 0, err
		}
		t.changed = t.changed || t.ours != ""
		return gone, t.withdraw(ctx)
	}
	t.size = source.Size
	if t.ours != "" {
		switch {
		case source.Version == t.copied:
			return copied, nil
		case source.Version == t.ours && bytes.Equal(source.Header, t.header):
			return 0, errSameObjects
		}
		t.changed = true
	}
	target, err := look(ctx, t.dst, t.name)
	if err != nil {
		return 0, fmt.Errorf("destination: %w", err)
	}
	if target != nil && target.Version != t.ours {
		if f, done, err := t.meet(ctx, target, source); done || err != nil {
			return f, err
		}
	}
	return 0, t.copy(ctx, source, target)
}

// meet decides what to do about an object that is in dst and not known to be
// ours: done is false if it is to be overwritten.
func (t *transfer) meet(ctx context.Context, target, source *backend.Entry) (f fate, done bool, err error) {
	same, err := t.same(ctx, target, source)
	switch {
	case overtaken(err):
		return 0, true, nil
	case err != nil:
		return 0, false, err
	case same && !t.tried:
		return skipped, true, nil
	case same: // the answer to our put was lost, or somebody has done the same
		t.ours, t.header, t.copied = target.Version, target.Header, source.Version
		return 0, true, nil
	case !t.opts.Overwrite:
		return 0, false, fmt.Errorf("destination: %w, and it is another one (Overwrite replaces it)", atrest.ErrExists)
	}
	return 0, false, nil
}

// overtaken reports whether somebody else has come in between.
func overtaken(err error) bool {
	return isGone(err) || errors.Is(err, atrest.ErrConflict) || errors.Is(err, atrest.ErrExists)
}

// same reports whether dst has what src has: an object that authenticates as one
// of dst and has the same immutable header and size. With ReadBack it has been
// read to its end.
func (t *transfer) same(ctx context.Context, target, source *backend.Entry) (bool, error) {
	have, err := parseHeader(source.Header)
	if err != nil {
		return false, fmt.Errorf("source: %w", err)
	}
	found, err := parseHeader(target.Header)
	if err != nil || target.Size != source.Size ||
		!bytes.Equal(found.immutable.appendAuthenticated(nil), have.immutable.appendAuthenticated(nil)) {
		return false, nil
	}
	err = t.check(ctx, target, found)
	// What can't be authenticated is another object, whatever it looks like.
	if !isFatal(ctx, err) && (isDamage(err) || errors.Is(err, atrest.ErrKeyVersionTooOld)) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("destination: %w", err)
	}
	return true, nil
}

// check authenticates an object of dst, its header or, with ReadBack, all of it.
func (t *transfer) check(ctx context.Context, target *backend.Entry, h *header) error {
	keys, err := t.dst.unwrap(ctx, t.name, h)
	if err != nil {
		return err
	}
	defer keys.wipe()
	if !t.opts.ReadBack {
		return nil
	}
	release, err := t.acquire(ctx, target.Size)
	if err != nil {
		return err
	}
	defer release()
	return t.dst.readThrough(ctx, target, h, keys)
}

// copy puts the source in the place of target, which is nil where there is
// nothing. It returns nil, too, if the source or the destination has to be looked
// at again.
func (t *transfer) copy(ctx context.Context, source, target *backend.Entry) error {
	err := t.put(ctx, source, target)
	if err == nil && t.opts.ReadBack {
		err = t.readBack(ctx, source)
	}
	switch {
	case err == nil, overtaken(err) && !isFatal(ctx, err):
		return nil
	case errors.Is(err, errRefused):
		return nil
	case isFatal(ctx, err):
		return err
	}
	// A body that is replaced while it is read may fail in any way.
	now, lookErr := look(ctx, t.src, t.name)
	if lookErr == nil && (now == nil || now.Version != source.Version) {
		return nil
	}
	return err
}

func (t *transfer) put(ctx context.Context, source, target *backend.Entry) error {
	h, err := parseHeader(source.Header)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	keys, err := t.src.unwrap(ctx, t.name, h)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	defer keys.wipe()
	header, err := t.dst.adopt(ctx, t.name, h, keys.data[:])
	if err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	release, err := t.acquire(ctx, source.Size)
	if err != nil {
		return err
	}
	defer release()
	body, err := t.src.openSealed(ctx, source, h, keys)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	defer body.close()
	cond, err := t.condition(ctx, target)
	if err != nil {
		return err
	}
	if t.ours == "" {
		t.created = target == nil
	}
	t.tried, t.sent = true, header
	version, err := t.dst.blobs.Put(ctx, t.name, header, body, cond)
	if err = t.judge(ctx, header, cond, err); err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	t.ours, t.header, t.sent, t.copied = version, header, nil, source.Version
	if !body.finished() {
		return errors.New("destination: the backend has not read the whole object")
	}
	return nil
}

// adopt returns the header under which an object of another store, or of another
// key, becomes one of s. The immutable part but the tag stays as it is.
func (s *Store) adopt(ctx context.Context, name string, h *header, dataKey []byte) ([]byte, error) {
	adopted := *h
	adopted.mount, adopted.key = s.mount, s.key
	var err error
	if adopted.wrapped, err = s.wrap(ctx, name, dataKey); err != nil {
		return nil, err
	}
	if err := adopted.immutable.sign(dataKey, s.keyContext(name)); err != nil {
		return nil, err
	}
	return adopted.marshal(), nil
}

// condition returns that of a put in the place of target. Where the backend
// refuses such conditions, it looks instead.
func (t *transfer) condition(ctx context.Context, target *backend.Entry) (backend.Condition, error) {
	cond := backend.Condition{IfAbsent: true}
	if target != nil {
		cond = backend.Condition{IfVersion: target.Version}
	}
	if !t.promise(cond).refused.Load() {
		return cond, nil
	}
	now, err := look(ctx, t.dst, t.name)
	if err != nil {
		return backend.Condition{}, fmt.Errorf("destination: %w", err)
	}
	if (now == nil) != (target == nil) || now != nil && now.Version != target.Version {
		return backend.Condition{}, fmt.Errorf("destination: %w", atrest.ErrConflict)
	}
	return backend.Condition{}, nil
}

// readBack compares what dst gives back with what was put there.
func (t *transfer) readBack(ctx context.Context, source *backend.Entry) error {
	target, err := look(ctx, t.dst, t.name)
	if err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	if target == nil || target.Version != t.ours {
		t.ours = "" // it is not ours any more
		return fmt.Errorf("destination: %w", atrest.ErrConflict)
	}
	same, err := t.same(ctx, target, source)
	if err == nil && !same {
		return fmt.Errorf("destination: what is read back is not what was put: %w", atrest.ErrTampered)
	}
	if overtaken(err) {
		t.ours = ""
	}
	return err
}

// claim finds out whether dst has what we have put last, although the answer to that
// was an error. No two wrapped keys are alike, so no other object has that header.
func (t *transfer) claim(ctx context.Context) error {
	if t.sent == nil {
		return nil
	}
	now, err := look(ctx, t.dst, t.name)
	if err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	if now != nil && bytes.Equal(now.Header, t.sent) {
		t.ours = now.Version
	}
	return nil
}

// unknown is clean for an object of which we do not know what src has now. A copy
// of what src had when last seen stays: it is genuine, and may be all that is left.
func (t *transfer) unknown(ctx context.Context, err error) error {
	if t.changed {
		return t.clean(ctx, err)
	}
	return err
}

// clean deletes our copy of an object that could not be migrated after all, so
// that no stale or damaged copy is taken for a good one later. Where it has
// replaced another object, it stays: then it may be all that there is.
func (t *transfer) clean(ctx context.Context, err error) error {
	if err == nil || !t.created || isFatal(ctx, err) {
		return err
	}
	if left := t.withdraw(ctx); left != nil {
		return fmt.Errorf("%w (and a copy that may be stale is left: %w)", err, left)
	}
	return err
}

// withdraw deletes our copy, unless somebody has replaced it.
func (t *transfer) withdraw(ctx context.Context) error {
	if t.ours == "" {
		return nil
	}
	err := t.dst.blobs.Delete(ctx, t.name, backend.Condition{IfVersion: t.ours})
	if errors.Is(err, atrest.ErrUnsupported) && t.refusesDelete(ctx) {
		var now *backend.Entry
		if now, err = look(ctx, t.dst, t.name); err == nil && now != nil && now.Version == t.ours {
			err = t.dst.blobs.Delete(ctx, t.name, backend.Condition{})
		}
	}
	if err != nil && !errors.Is(err, atrest.ErrConflict) {
		return fmt.Errorf("destination: %w", err)
	}
	return nil
}
