package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// A rekeying is what becomes of one object of a chunk where dst and src share a
// backend.
type rekeying struct {
	header []byte // its new one; nil if it is one of dst already
	gone   bool
	err    error
}

// rekeyChunk goes over a chunk, and over what has been changed while it did,
// until nothing is left.
func (m *migration) rekeyChunk(ctx context.Context, chunk []backend.Entry) *step {
	s := &step{names: namesOf(chunk)}
	for range attempts {
		chunk = m.rekeyRound(ctx, chunk, s)
		if len(chunk) == 0 || s.fatal != nil {
			return s
		}
	}
	for _, entry := range chunk {
		s.settle(ctx, entry.Name, fmt.Errorf("%w again and again", atrest.ErrConflict))
	}
	return s
}

// rekeyRound makes objects of src into objects of dst and returns, without their
// headers, those that changed under its hands.
func (m *migration) rekeyRound(ctx context.Context, chunk []backend.Entry, s *step) (again []backend.Entry) {
	work := make([]rekeying, len(chunk))
	m.src.completeAll(ctx, chunk, headerWorkers, func(i int, gone bool, err error) { work[i].gone, work[i].err = gone, err })
	each(len(chunk), m.opts.Concurrency, func(i int) {
		if w := &work[i]; !w.gone && w.err == nil {
			w.header, w.err = m.rekeyed(ctx, &chunk[i])
		}
	})
	m.setRekeyed(ctx, chunk, work)
	if m.opts.ReadBack {
		each(len(chunk), m.opts.Concurrency, func(i int) {
			if w := &work[i]; !w.gone && w.err == nil {
				w.err = m.readInPlace(ctx, &chunk[i])
			}
		})
	}
	for i, w := range work {
		switch {
		case w.gone, isGone(w.err):
			s.counts.Gone++
			s.gone = append(s.gone, chunk[i].Name)
		case errors.Is(w.err, atrest.ErrConflict):
			again = append(again, backend.Entry{Name: chunk[i].Name})
		case w.err != nil:
			s.settle(ctx, chunk[i].Name, w.err)
		case w.header == nil:
			s.counts.Skipped++
			s.counts.SkippedBytes += chunk[i].Size
		default:
			s.counts.Copied++
		}
	}
	return again
}

// rekeyed returns the header under which an object becomes one of dst, or nil if
// it is one already. What does not authenticate as one of dst may be one of src
// as long as its header names the key of src, even if that is called the same.
func (m *migration) rekeyed(ctx context.Context, entry *backend.Entry) ([]byte, error) {
	h, err := parseHeader(entry.Header)
	if err != nil {
		return nil, err
	}
	dstErr := m.dst.checkKeyName(h)
	if dstErr == nil {
		if dstErr = m.dst.opens(ctx, entry.Name, h); dstErr == nil {
			return nil, nil
		}
		if isFatal(ctx, dstErr) || m.src.checkKeyName(h) != nil {
			return nil, fmt.Errorf("destination: %w", dstErr)
		}
	}
	keys, err := m.src.unwrap(ctx, entry.Name, h)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	defer keys.wipe()
	header, err := m.dst.adopt(ctx, entry.Name, h, keys.data[:])
	if err == nil {
		err = m.dst.opensAgain(ctx, entry.Name, header)
	}
	if err != nil {
		return nil, fmt.Errorf("destination: %w", err)
	}
	return header, nil
}

// opensAgain makes sure that s can open a header that it has made. In place, the old one is
// the only copy of the data key that can be opened, so it does not go before.
func (s *Store) opensAgain(ctx context.Context, name string, header []byte) error {
	h, err := parseHeader(header)
	if err != nil {
		return err
	}
	return s.opens(ctx, name, h)
}

// opens authenticates a header.
func (s *Store) opens(ctx context.Context, name string, h *header) error {
	keys, err := s.unwrap(ctx, name, h)
	if err == nil {
		keys.wipe()
	}
	return err
}

// setRekeyed replaces the headers that are to be replaced.
func (m *migration) setRekeyed(ctx context.Context, chunk []backend.Entry, work []rekeying) {
	var updates []backend.HeaderUpdate
	var at []int // where updates[k] belongs
	for i, w := range work {
		if w.err == nil && w.header != nil {
			updates = append(updates, backend.HeaderUpdate{
				Name: chunk[i].Name, Version: chunk[i].Version, Old: chunk[i].Header, New: w.header,
			})
			at = append(at, i)
		}
	}
	for k, err := range m.src.setHeaders(ctx, updates) {
		work[at[k]].err = err
	}
}

// readInPlace reads an object to its end, as one of dst.
func (m *migration) readInPlace(ctx context.Context, entry *backend.Entry) error {
	release, err := m.acquire(ctx, entry.Size)
	if err != nil {
		return err
	}
	defer release()
	_, err = m.dst.verifyOne(ctx, entry.Name)
	return err
}
