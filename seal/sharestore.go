package seal

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// defaultShareTime is how long one of the databases that hold shares may take for one call: the
// others are there for when it does not answer.
const defaultShareTime = 5 * time.Second

// defaultProveTime is how long Vault may take to tell that a key is its own, after a change that
// is done.
const defaultProveTime = 15 * time.Second

// A shareStore is one of the databases, with a limit on the time of each call, which holds even
// if it does not hear of that: a directory on a file server that is gone.
type shareStore struct {
	records backend.Records
	name    string // in errors
	limit   time.Duration
}

func (s shareStore) get(ctx context.Context, name string) (backend.Record, error) {
	return timed(ctx, s.limit, func(ctx context.Context) (backend.Record, error) { return s.records.GetRecord(ctx, name) })
}

func (s shareStore) put(ctx context.Context, name string, data []byte) error {
	_, err := timed(ctx, s.limit, func(ctx context.Context) (backend.Revision, error) { return s.records.PutRecord(ctx, name, data, "") })
	return err
}

func (s shareStore) remove(ctx context.Context, name string, r backend.Revision) error {
	_, err := timed(ctx, s.limit, func(ctx context.Context) (struct{}, error) { return struct{}{}, s.records.DeleteRecord(ctx, name, r) })
	return err
}

func (s shareStore) list(ctx context.Context) ([]string, error) {
	return timed(ctx, s.limit, func(ctx context.Context) (names []string, err error) {
		for name, err := range s.records.ListRecords(ctx, sharePrefix) {
			if err != nil {
				return names, err
			}
			names = append(names, name)
		}
		return names, nil
	})
}

// timed calls f, and gives up on it when its time is over.
func timed[T any](ctx context.Context, limit time.Duration, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w: no answer within %v", atrest.ErrUnavailable, limit))
	defer cancel()
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f(ctx)
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		if r.err != nil && ctx.Err() != nil {
			r.err = context.Cause(ctx)
		}
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// shareStores are where shares are, or may be: those that are in use, and the former ones.
func (m *Manager) shareStores() (all []shareStore) {
	for i, records := range m.cfg.ShareRecords {
		all = append(all, shareStore{records, fmt.Sprintf("ShareRecords[%d]", i), m.shareTime})
	}
	for i, records := range m.cfg.FormerShareRecords {
		all = append(all, shareStore{records, fmt.Sprintf("FormerShareRecords[%d]", i), m.shareTime})
	}
	return all
}

// checkShareRecords refuses what would make a single database as good as all of them.
func checkShareRecords(records []backend.Records, shares, threshold int) error {
	for i, r := range records {
		switch {
		case r == nil:
			return fmt.Errorf("Config.ShareRecords[%d] is nil", i)
		case reflect.ValueOf(r).Comparable() && slices.ContainsFunc(records[:i], func(o backend.Records) bool {
			return reflect.ValueOf(o).Comparable() && o == r
		}):
			return fmt.Errorf("%w: Config.ShareRecords names one database twice", atrest.ErrUnsupported)
		}
	}
	if n := len(records); n > 1 && (shares+n-1)/n >= threshold {
		return fmt.Errorf("%w: %d shares in %d databases, so that one of these has %d, which are enough to unseal Vault by themselves, and without which it can't be: have as many databases as shares, or one",
			atrest.ErrUnsupported, shares, n, (shares+n-1)/n)
	}
	return nil
}
