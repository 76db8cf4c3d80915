package memory

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// Records is an in-memory [backend.Records], for tests: what it holds ends with it. Use
// [NewRecords] to make one. Its locks exclude the goroutines that share it.
type Records struct {
	mu      sync.Mutex
	records map[string]backend.Record // the data are never changed, only replaced
	changes uint64                    // counts revisions, never back
	locks   map[string]chan struct{}  // each holds one value while the lock is free
}

var _ backend.Records = (*Records)(nil)

// NewRecords returns Records without any.
func NewRecords() *Records {
	return &Records{
		records: make(map[string]backend.Record),
		locks:   make(map[string]chan struct{}),
	}
}

// GetRecord implements [backend.Records].
func (r *Records) GetRecord(ctx context.Context, name string) (_ backend.Record, err error) {
	defer annotate(&err, "get", name)
	if err := firstError(backend.CheckRecordName(name), ctx.Err()); err != nil {
		return backend.Record{}, err
	}
	r.mu.Lock()
	record, ok := r.records[name]
	r.mu.Unlock()
	if !ok {
		return backend.Record{}, atrest.ErrNotFound
	}
	record.Data = bytes.Clone(record.Data)
	return record, nil
}

// PutRecord implements [backend.Records].
func (r *Records) PutRecord(ctx context.Context, name string, data []byte, old backend.Revision) (_ backend.Revision, err error) {
	defer annotate(&err, "put", name)
	if err := firstError(backend.CheckRecord(name, data), ctx.Err()); err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	current := r.records[name].Revision // empty if there is none
	switch {
	case old == current:
	case old == "":
		return "", atrest.ErrExists
	default:
		return "", atrest.ErrConflict
	}
	r.changes++
	revision := backend.Revision(strconv.FormatUint(r.changes, 10))
	r.records[name] = backend.Record{Data: bytes.Clone(data), Revision: revision}
	return revision, nil
}

// DeleteRecord implements [backend.Records].
func (r *Records) DeleteRecord(ctx context.Context, name string, old backend.Revision) (err error) {
	defer annotate(&err, "delete", name)
	if err := firstError(backend.CheckRecordRevision(name, old), ctx.Err()); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if record, ok := r.records[name]; ok && record.Revision != old {
		return atrest.ErrConflict
	}
	delete(r.records, name)
	return nil
}

// ListRecords implements [backend.Records]. It lists what there is at its beginning.
func (r *Records) ListRecords(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := firstError(backend.CheckRecordPrefix(prefix), ctx.Err()); err != nil {
			annotate(&err, "list", prefix)
			yield("", err)
			return
		}
		r.mu.Lock()
		names := slices.Sorted(maps.Keys(r.records))
		r.mu.Unlock()
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				annotate(&err, "list", prefix)
				yield("", err)
				return
			}
			if strings.HasPrefix(name, prefix) && !yield(name, nil) {
				return
			}
		}
	}
}

// LockRecords implements [backend.Records]. The lock can't be lost.
func (r *Records) LockRecords(ctx context.Context, name string) (_ context.Context, unlock func(), err error) {
	defer annotate(&err, "lock", name)
	if err := firstError(backend.CheckRecordName(name), ctx.Err()); err != nil {
		return nil, nil, err
	}
	free := r.lock(name)
	select {
	case <-free:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	held, end := context.WithCancel(ctx)
	return held, sync.OnceFunc(func() {
		end()
		free <- struct{}{}
	}), nil
}

// lock returns the lock of that name. Those that were used once stay.
func (r *Records) lock(name string) chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	free, ok := r.locks[name]
	if !ok {
		free = make(chan struct{}, 1)
		free <- struct{}{}
		r.locks[name] = free
	}
	return free
}

func firstError(check, ctx error) error {
	if check != nil {
		return check
	}
	return ctx
}

// annotate adds the operation and the record's name to an error, once.
func annotate(err *error, op, name string) {
	if *err != nil {
		*err = fmt.Errorf("memory: %s record %.100q: %w", op, name, *err)
	}
}
