package backendtest_test

import (
	"context"
	"sync"
	"testing"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/backendtest"
	"github.com/atrest/atrest/backend/memory"
)

// A lockFunc is a LockRecords.
type lockFunc func(ctx context.Context, name string) (context.Context, func(), error)

// locking alters the sound lock.
func locking(alter func(a *alteredRecords, sound lockFunc) lockFunc) func(*alteredRecords) {
	return func(a *alteredRecords) { a.lock = alter(a, a.Records.LockRecords) }
}

func recordLockMutants() []recordsMutant {
	return []recordsMutant{
		{name: "locks nothing", found: "Lock/Exclusive", wrong: locking(func(_ *alteredRecords, _ lockFunc) lockFunc {
			return func(ctx context.Context, _ string) (context.Context, func(), error) {
				held, end := context.WithCancel(ctx)
				return held, end, ctx.Err()
			}
		})},
		{name: "locks each handle by itself", found: "Lock/Exclusive", cfg: func(cfg *backendtest.RecordsConfig) {
			cfg.Reopen = func(_ *testing.T, r backend.Records) backend.Records {
				a := &alteredRecords{Records: r, lock: memory.NewRecords().LockRecords}
				return a
			}
		}},
		{name: "has one lock for all", found: "Lock/Names", wrong: locking(func(_ *alteredRecords, sound lockFunc) lockFunc {
			return func(ctx context.Context, _ string) (context.Context, func(), error) { return sound(ctx, "lock") }
		})},
		{name: "unlocks for others", found: "Lock/Unlock", wrong: locking(func(_ *alteredRecords, _ lockFunc) lockFunc {
			free := make(chan struct{}, 1)
			free <- struct{}{}
			return func(ctx context.Context, _ string) (context.Context, func(), error) {
				select {
				case <-free:
				case <-ctx.Done():
					return nil, nil, ctx.Err()
				}
				held, end := context.WithCancel(ctx)
				return held, func() {
					end()
					select {
					case free <- struct{}{}:
					default:
					}
				}, nil
			}
		})},
		{name: "does not end the context", found: "Lock/Unlock", wrong: locking(func(_ *alteredRecords, sound lockFunc) lockFunc {
			return func(ctx context.Context, name string) (context.Context, func(), error) {
				_, unlock, err := sound(ctx, name)
				if err != nil {
					return nil, nil, err
				}
				return ctx, unlock, nil
			}
		})},
		{name: "waits without ear", found: "Lock/Wait", wrong: locking(func(_ *alteredRecords, sound lockFunc) lockFunc {
			return func(ctx context.Context, name string) (context.Context, func(), error) {
				if err := ctx.Err(); err != nil {
					return nil, nil, err
				}
				return sound(context.WithoutCancel(ctx), name)
			}
		})},
		{name: "takes the lock after it gave up", found: "Lock/Wait", wrong: locking(func(_ *alteredRecords, sound lockFunc) lockFunc {
			return func(ctx context.Context, name string) (context.Context, func(), error) {
				held, unlock, err := sound(ctx, name)
				if err != nil {
					go func() { _, _, _ = sound(context.WithoutCancel(ctx), name) }() // never unlocked
				}
				return held, unlock, err
			}
		})},
		{name: "releases at the end of the context", found: "Lock/Context", wrong: locking(func(_ *alteredRecords, sound lockFunc) lockFunc {
			return func(ctx context.Context, name string) (context.Context, func(), error) {
				held, unlock, err := sound(ctx, name)
				if err == nil {
					context.AfterFunc(ctx, unlock)
				}
				return held, unlock, err
			}
		})},
		{name: "returns a stranger's context", found: "Lock/Context", wrong: locking(func(_ *alteredRecords, sound lockFunc) lockFunc {
			return func(ctx context.Context, name string) (context.Context, func(), error) {
				_, unlock, err := sound(ctx, name)
				if err != nil {
					return nil, nil, err
				}
				held, end := context.WithCancel(context.Background())
				return held, sync.OnceFunc(func() { end(); unlock() }), nil
			}
		})},
		{name: "keeps a lock as a record", found: "Lock/Records", wrong: locking(func(a *alteredRecords, sound lockFunc) lockFunc {
			return func(ctx context.Context, name string) (context.Context, func(), error) {
				_, _ = a.Records.PutRecord(ctx, name, []byte("locked"), "") // or it is there
				return sound(ctx, name)
			}
		})},
		{name: "locks out changes", found: "Lock/Records", wrong: func(a *alteredRecords) {
			a.put = func(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error) {
				_, unlock, err := a.Records.LockRecords(ctx, name)
				if err != nil {
					return "", err
				}
				defer unlock()
				return a.Records.PutRecord(ctx, name, data, old)
			}
		}},
		{name: "leaves a goroutine", found: "Goroutines", wrong: locking(func(_ *alteredRecords, sound lockFunc) lockFunc {
			return func(ctx context.Context, name string) (context.Context, func(), error) {
				go func() { select {} }()
				return sound(ctx, name)
			}
		})},
	}
}
