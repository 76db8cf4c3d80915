package s3

import (
	"context"
	"errors"
	"fmt"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// commitTries is how often a change is tried whose condition is met, but which
// the server refuses because the object's ETag is another than a moment before:
// somebody has set its header.
const commitTries = 10

// A precondition goes with the request that makes a change.
type precondition struct {
	ifMatch, ifNoneMatch *string
}

// answer returns the answer to a request with a precondition. Servers differ in
// what they say where there is no object to match.
func (when precondition) answer(err error) error {
	if when.ifMatch != nil && errors.Is(err, atrest.ErrNotFound) {
		return errPrecondition
	}
	return err
}

// A change is the last request of an operation, which makes it happen, and what
// has to be known before and after.
type change struct {
	key string
	// meets returns an error unless what is there may be changed; nil: anything.
	meets func(at seen) error
	// ifAbsent tells that meets allows nothing that exists.
	ifAbsent bool
	// copies tells that send is a CopyObject.
	copies bool
	// before is what has been seen at key already, if anything.
	before *seen
	// upload tells that send completes an upload.
	upload bool
	// done tells whether what is there is the outcome of this change.
	done func(at seen) bool
	// send sends the request.
	send func(ctx context.Context, when precondition) error
}

// commit makes a change if its condition is met, atomically as far as the server
// or Config.SoleWriter allow; else it is ErrUnsupported.
func (s *Store) commit(ctx context.Context, c change) error {
	switch {
	case s.cfg.SoleWriter:
		return s.exclusively(ctx, c.key, func(ctx context.Context) error { return s.commitAlone(ctx, c) })
	case c.meets == nil:
		return c.unasked(s.settle(ctx, c, c.send(ctx, precondition{})))
	}
	caps, err := s.conditions(ctx, c.copies)
	if err != nil {
		return err
	}
	if c.ifAbsent {
		return s.commitAbsent(ctx, c)
	}
	return s.commitMatch(ctx, c, caps)
}

// conditions returns an error unless the server decides conditions on puts, or
// on copies.
func (s *Store) conditions(ctx context.Context, copies bool) (Capabilities, error) {
	caps, err := s.Capabilities(ctx)
	if err == nil && (copies && !caps.ConditionalCopy || !caps.ConditionalPut) {
		err = fmt.Errorf("%w: this server does not honour conditions on writes: where this process alone writes under the prefix, set Config.SoleWriter",
			atrest.ErrUnsupported)
	}
	return caps, err
}

// commitAlone decides here, under the lock of the name.
func (s *Store) commitAlone(ctx context.Context, c change) error {
	if c.meets != nil {
		at, err := s.look(ctx, c.key)
		if err == nil {
			err = c.meets(at)
		}
		if err != nil {
			return err
		}
	}
	return c.unasked(s.settle(ctx, c, c.send(ctx, precondition{})))
}

// unasked returns the error for a refusal of a request that had no condition of
// its own: somebody else was changing the object.
func (c change) unasked(err error) error {
	switch {
	case !errors.Is(err, errPrecondition):
		return err
	case c.meets != nil:
		return fmt.Errorf("%w: somebody else was changing it: %w", atrest.ErrConflict, err)
	}
	return fmt.Errorf("%w: somebody else was changing it: %w", atrest.ErrUnavailable, err)
}

// settle finds out what an answer means that does not tell whether the change
// was made.
//
// The object or the upload may not be there any more because the client has sent
// the request twice, as the first answer was lost, and the first has done it. And
// VersityGW answers to the completion of an upload that was aborted as to one that
// has been completed before, if there is any object of that key.
func (s *Store) settle(ctx context.Context, c change, err error) error {
	if err == nil && !c.upload || err != nil && !isRefusal(err) && !errors.Is(err, errRepeated) {
		return err
	}
	at, lookErr := s.look(ctx, c.key)
	switch {
	case lookErr == nil && c.done(at):
		return nil
	case errors.Is(err, errNoUpload):
		return errUploadLost(err)
	case errors.Is(err, errRepeated), err == nil && lookErr != nil, err == nil && c.meets == nil:
		return fmt.Errorf("%w: the server says that the upload is completed, but it is not what is there now: it was replaced or deleted at once, or had been aborted",
			atrest.ErrUnavailable)
	case err == nil:
		return errPrecondition // at best somebody has come after us
	}
	return err
}

// commitAbsent lets the server decide whether there is an object.
func (s *Store) commitAbsent(ctx context.Context, c change) error {
	for tries := range commitTries {
		err := s.settle(ctx, c, c.send(ctx, ifNoneMatch()))
		switch {
		case errors.Is(err, errConcurrent): // by a deletion, perhaps: there need be no object
			if err := pause(ctx, tries); err != nil {
				return err
			}
		case errors.Is(err, errPrecondition):
			return atrest.ErrExists
		default:
			return err
		}
	}
	return fmt.Errorf("%w: others are changing it all the time", atrest.ErrUnavailable)
}

// commitMatch lets the server decide whether the object still is the one whose
// version was looked at. The server knows its ETag only. That is the same for
// equal bytes, so between the look and the change an object can come that has the
// same bytes and another version, by a Copy, and not be noticed.
func (s *Store) commitMatch(ctx context.Context, c change, caps Capabilities) error {
	for range commitTries {
		at, err := s.lookTwice(ctx, c.key, caps, c.before)
		c.before = nil
		if err == nil {
			err = c.meets(at)
		}
		if err != nil {
			return err
		}
		// An empty condition would be none, and "*" is met by everything.
		if at.etag == "" || at.etag == "*" {
			return errNoETag
		}
		err = s.settle(ctx, c, c.send(ctx, precondition{ifMatch: &at.etag}))
		if !errors.Is(err, errPrecondition) {
			return err
		}
	}
	return fmt.Errorf("%w: it does not come to rest", atrest.ErrConflict)
}

// lookTwice looks until the ETag certainly is not that of a later version.
// VersityGW, and perhaps others, read the two one after the other and not under a
// lock, so that a single answer can mix two objects. But no version comes twice:
// if it is the same in the next answer, then it was there all the time in between,
// and an ETag read meanwhile is its own. One read before may be that of the object
// before, which will not match, and then the change is tried again.
//
// The first look may have been taken before.
func (s *Store) lookTwice(ctx context.Context, key string, caps Capabilities, before *seen) (at seen, err error) {
	if before != nil {
		at = *before
	} else {
		at, err = s.look(ctx, key)
	}
	for range commitTries {
		if err != nil || !at.exists || caps.ConditionalCopy {
			return at, err
		}
		first := at
		at, err = s.look(ctx, key)
		if err == nil && at.exists && at.Version == first.Version {
			at.etag = first.etag
			return at, nil
		}
	}
	return at, fmt.Errorf("%w: it does not come to rest", atrest.ErrConflict)
}

// meets returns the check of a condition, or nil if there is none.
func meets(cond backend.Condition) func(at seen) error {
	switch {
	case cond.IfAbsent:
		return func(at seen) error {
			if at.exists {
				return atrest.ErrExists
			}
			return nil
		}
	case cond.IfVersion != "":
		return func(at seen) error {
			if !at.exists || at.Version != cond.IfVersion {
				return atrest.ErrConflict
			}
			return nil
		}
	}
	return nil
}

// isNow returns what tells that a version is there, which only one change makes.
func isNow(version backend.Version) func(at seen) bool {
	return func(at seen) bool { return at.exists && at.Version == version }
}
