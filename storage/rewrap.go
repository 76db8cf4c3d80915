package storage

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

const (
	// rewrapChunk is how many objects go through a rewrap together, in one
	// request to Vault and, where the backend can, in one to the backend. What is
	// listed and not yet done is held in memory. Measured with backend/memory and
	// 40,000 objects, the rate is that of Vault, and the same from 512 to 4,000.
	rewrapChunk = 1000

	// headerWorkers is how many headers of a chunk are read or written at a
	// time, so that a backend's latency is not paid one by one.
	headerWorkers = 16
)

// RewrapOptions say what to rewrap. A nil *RewrapOptions is the zero one.
type RewrapOptions struct {
	// Prefix and After are those of [ListOptions].
	Prefix, After string
	// Concurrency is how many batches are under way at a time; zero means 4.
	Concurrency int
	// Progress, if not nil, is called after each batch, never concurrently.
	Progress func(RewrapProgress)
	// Failed, if not nil, is called for each object that could not be
	// rewrapped, never concurrently.
	Failed func(name string, err error)
}

// RewrapProgress counts the objects of a rewrap.
type RewrapProgress struct {
	// KeyVersion is the newest version of the transit key when it began.
	KeyVersion uint32
	// Rewrapped were under an older version and no longer are.
	Rewrapped int64
	// Current were under that version or a newer one already.
	Current int64
	// Failed could not be rewrapped; they are as they were.
	Failed int64
	// Last is the name up to which, in the order of listings, all is done or has
	// failed. As RewrapOptions.After it makes another Rewrap go on from there,
	// which does not try again what has failed before it: that is for one without
	// After. Last stays before what ended it early, and before failures that don't say
	// that they are about one object, until a hundred others have fared better.
	Last string
}

// Rewrap brings the data keys of all objects to the newest version of the
// transit key, after that has been rotated. Only headers are rewritten: bodies
// are neither read nor encrypted again, and no plaintext key leaves Vault.
//
// Objects stay readable throughout, and each header is replaced atomically. A
// Rewrap that ends early, for whatever reason, has done no harm, and a second
// one skips what is done by looking at the headers alone. Objects that are
// replaced or deleted meanwhile are left to whoever did that.
//
// An object that can't be rewrapped is reported and passed over; Rewrap then
// returns an error that wraps the first such error, and the counts. What is not
// about one object, such as a sealed Vault or a storage engine that can't be
// reached or refuses (ErrPermission), ends it, and so do 100 failures in a row that
// don't say that they are about one object. Where an engine refuses only one
// object, the error names it, and a run with that name as After does the rest.
//
// A put wraps its data key before it streams the object. So a put that began
// before the rotation and ends after the Rewrap leaves an object under the old
// version. Before the old version is given up (min_decryption_version), wait
// until such puts have ended and run Rewrap again, until it finds nothing.
func (s *Store) Rewrap(ctx context.Context, opts *RewrapOptions) (RewrapProgress, error) {
	if opts == nil {
		opts = new(RewrapOptions)
	}
	var progress RewrapProgress
	latest, err := s.keys.LatestVersion(ctx)
	if err != nil {
		return progress, fmt.Errorf("storage: rewrap: %w", err)
	}
	progress.KeyVersion = latest
	progress.Last = opts.After

	chunks := func(ctx context.Context) iter.Seq2[[]backend.Entry, error] {
		return chunked(s.blobs.List(ctx, opts.Prefix, opts.After), rewrapChunk)
	}
	outcomes := ordered(ctx, chunks, orDefault(opts.Concurrency, 4), func(ctx context.Context, chunk []backend.Entry) *outcome {
		return s.rewrapChunk(ctx, chunk, latest)
	})
	failed := failures{doing: "rewrap", report: opts.Failed, last: opts.After}
	for o, err := range outcomes {
		if err != nil {
			return progress, failed.with(fmt.Errorf("storage: rewrap: %w", err))
		}
		progress.add(o)
		failed.add(o.failed)
		if o.fatal != nil {
			return progress, failed.with(o.fatal)
		}
		err := failed.follow(o.names, o.failed)
		progress.Last = failed.last
		if err != nil {
			return progress, err
		}
		if opts.Progress != nil {
			opts.Progress(progress)
		}
	}
	return progress, failed.err()
}

func (p *RewrapProgress) add(o *outcome) {
	p.Rewrapped += o.rewrapped
	p.Current += o.current
	p.Failed += int64(len(o.failed))
}

// An outcome is what became of a chunk.
type outcome struct {
	rewrapped, current int64
	failed             []failure
	names              []string // of all in the chunk
	fatal              error    // ends the rewrap
}

// settle files an error of one object, or of everything.
func (o *outcome) settle(ctx context.Context, name string, err error) {
	switch {
	case isGone(err): // deleted since it was listed
	case !isFatal(ctx, err):
		o.failed = append(o.failed, failure{name, err})
	case o.fatal == nil:
		o.fatal = opError("rewrap", name, err)
	}
}

// rewrapChunk goes over a chunk, and over what has been replaced while it did,
// until nothing is left.
func (s *Store) rewrapChunk(ctx context.Context, chunk []backend.Entry, latest uint32) *outcome {
	o := &outcome{names: namesOf(chunk)}
	for range attempts {
		chunk = s.rewrapRound(ctx, chunk, latest, o)
		if len(chunk) == 0 || o.fatal != nil {
			return o
		}
	}
	for _, entry := range chunk {
		o.settle(ctx, entry.Name, fmt.Errorf("%w again and again", atrest.ErrConflict))
	}
	return o
}

// rewrapRound rewraps the entries that are under an older version than latest
// and returns, without their headers, those that changed under its hands.
func (s *Store) rewrapRound(ctx context.Context, chunk []backend.Entry, latest uint32, o *outcome) (again []backend.Entry) {
	updates, headers := s.outdated(ctx, chunk, latest, o)
	if len(updates) == 0 || o.fatal != nil {
		return nil
	}
	wrapped := make([]string, len(updates))
	contexts := make([][]byte, len(updates))
	for i := range updates {
		wrapped[i], contexts[i] = headers[i].wrapped.text(), s.keyContext(updates[i].Name)
	}
	rewrapped, errs := s.rewrapKeys(ctx, wrapped, contexts)
	ready := updates[:0]
	for i, u := range updates {
		if errs[i] == nil {
			u.New, errs[i] = headers[i].rewrapped(rewrapped[i], latest)
		}
		if errs[i] != nil {
			o.settle(ctx, u.Name, errs[i])
			continue
		}
		ready = append(ready, u)
	}
	for i, err := range s.setHeaders(ctx, ready) {
		switch {
		case err == nil:
			o.rewrapped++
		case errors.Is(err, atrest.ErrConflict):
			again = append(again, backend.Entry{Name: ready[i].Name})
		default:
			o.settle(ctx, ready[i].Name, err)
		}
	}
	return again
}

// setHeaders replaces headers, all in one call where the backend can do that.
func (s *Store) setHeaders(ctx context.Context, updates []backend.HeaderUpdate) []error {
	errs := make([]error, len(updates))
	batcher, ok := s.blobs.(backend.HeaderBatcher)
	if !ok {
		each(len(updates), headerWorkers, func(i int) { errs[i] = s.blobs.SetHeader(ctx, updates[i]) })
		return errs
	}
	if answer := batcher.SetHeaders(ctx, updates); len(answer) == len(updates) {
		return answer
	}
	for i := range errs {
		errs[i] = errors.New("backend returned another number of errors than it was given headers")
	}
	return errs
}

// rewrapKeys is RewrapBatch, with errors that are known as the wrapper's.
func (s *Store) rewrapKeys(ctx context.Context, wrapped []string, contexts [][]byte) ([]string, []error) {
	rewrapped, errs := s.keys.RewrapBatch(ctx, wrapped, contexts)
	if len(rewrapped) != len(wrapped) || len(errs) != len(wrapped) {
		rewrapped, errs = make([]string, len(wrapped)), make([]error, len(wrapped))
		for i := range errs {
			errs[i] = &keyError{errors.New("key wrapper returned another number of keys than it was given")}
		}
		return rewrapped, errs
	}
	for i, err := range errs {
		if err != nil {
			errs[i] = &keyError{err}
		}
	}
	return rewrapped, errs
}

// outdated picks the entries that need a rewrap.
func (s *Store) outdated(ctx context.Context, chunk []backend.Entry, latest uint32, o *outcome) (updates []backend.HeaderUpdate, headers []*header) {
	errs := make([]error, len(chunk))
	gone := make([]bool, len(chunk))
	s.completeAll(ctx, chunk, headerWorkers, func(i int, missing bool, err error) { gone[i], errs[i] = missing, err })
	for i, entry := range chunk {
		if gone[i] {
			continue
		}
		h, err := s.parseOwn(entry.Header, errs[i])
		switch {
		case err != nil:
			o.settle(ctx, entry.Name, err)
		case h.wrapped.version > latest && s.isForged(ctx, h):
			o.settle(ctx, entry.Name, fmt.Errorf("%w (no such key version)", atrest.ErrTampered))
		case h.wrapped.version >= latest:
			o.current++
		default:
			updates = append(updates, backend.HeaderUpdate{Name: entry.Name, Version: entry.Version, Old: entry.Header})
			headers = append(headers, h)
		}
	}
	return updates, headers
}

// isForged reports whether a header names a key version that Vault does not
// have. One that is newer than the newest a while ago may be: someone may have
// rotated the key since.
func (s *Store) isForged(ctx context.Context, h *header) bool {
	newest, err := s.keys.LatestVersion(ctx)
	return err == nil && h.wrapped.version > newest
}

// parseOwn parses the header of an object of this store, unless fetching it
// failed.
func (s *Store) parseOwn(b []byte, err error) (*header, error) {
	if err != nil {
		return nil, err
	}
	h, err := parseHeader(b)
	if err != nil {
		return nil, err
	}
	return h, s.checkKeyName(h)
}

// rewrapped returns the header with another wrapped key. It is the only copy of
// the data key that goes, so what comes in its place had better be what was
// asked for.
func (h *header) rewrapped(text string, latest uint32) ([]byte, error) {
	w, err := parseWrapped(text)
	if err != nil {
		return nil, err
	}
	if w.version < latest || len(w.ciphertext) != len(h.wrapped.ciphertext) {
		return nil, fmt.Errorf("key wrapper returned a wrapped key of version %d and %d bytes for one of %d bytes that was to have version %d",
			w.version, len(w.ciphertext), len(h.wrapped.ciphertext), latest)
	}
	h.wrapped = w
	return h.marshal(), nil
}

// chunked gathers the items of a sequence into slices of up to n.
func chunked[T any](seq iter.Seq2[T, error], n int) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		var chunk []T
		for item, err := range seq {
			if err != nil {
				// What was listed before the error is still worth doing.
				if len(chunk) == 0 || yield(chunk, nil) {
					yield(nil, err)
				}
				return
			}
			if chunk = append(chunk, item); len(chunk) == n {
				if !yield(chunk, nil) {
					return
				}
				chunk = nil
			}
		}
		if len(chunk) > 0 {
			yield(chunk, nil)
		}
	}
}

// each calls f(0) to f(n-1) on up to so many goroutines.
func each(n, workers int, f func(i int)) {
	var wg sync.WaitGroup
	workers = min(n, workers)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				f(i)
			}
		})
	}
	wg.Wait()
}
