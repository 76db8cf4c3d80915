package backendtest_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// batched alters what SetHeaders does, given what sets one by one.
func batched(set func(ctx context.Context, a *altered, updates []backend.HeaderUpdate) []error) func(*altered) {
	return func(a *altered) {
		a.setHeaders = func(ctx context.Context, updates []backend.HeaderUpdate) []error { return set(ctx, a, updates) }
	}
}

// oneByOne is a sound SetHeaders.
func oneByOne(ctx context.Context, b backend.Blobs, updates []backend.HeaderUpdate) []error {
	errs := make([]error, len(updates))
	for i, u := range updates {
		errs[i] = b.SetHeader(ctx, u)
	}
	return errs
}

func headersMutants() []mutant {
	return []mutant{
		{name: "sets batches with what is wrong with one", found: "SetHeaders/Each", wrong: current(func(u *backend.HeaderUpdate, o *backend.Object) { u.Version = o.Version })},
		{name: "returns the failures of a batch only", found: "SetHeaders/Each", wrong: batched(func(ctx context.Context, a *altered, updates []backend.HeaderUpdate) []error {
			return slices.DeleteFunc(oneByOne(ctx, a.Blobs, updates), func(err error) bool { return err == nil })
		})},
		{name: "fails a batch as a whole", found: "SetHeaders/Each", wrong: batched(func(ctx context.Context, a *altered, updates []backend.HeaderUpdate) []error {
			errs := oneByOne(ctx, a.Blobs, updates)
			if err := errors.Join(errs...); err != nil {
				return slices.Repeat([]error{err}, len(errs))
			}
			return errs
		})},
		{name: "ends a batch at the first failure", found: "SetHeaders/Each", wrong: batched(func(ctx context.Context, a *altered, updates []backend.HeaderUpdate) []error {
			errs := make([]error, len(updates))
			for i, u := range updates {
				if errs[i] = a.Blobs.SetHeader(ctx, u); errs[i] != nil {
					break
				}
			}
			return errs
		})},
		{name: "takes missing names of a batch for done", found: "SetHeaders/Each", wrong: batched(func(ctx context.Context, a *altered, updates []backend.HeaderUpdate) []error {
			errs := oneByOne(ctx, a.Blobs, updates)
			for i, u := range updates {
				if _, err := a.Blobs.Get(ctx, u.Name, backend.Range{}, ""); errors.Is(err, atrest.ErrNotFound) {
					errs[i] = nil
				}
			}
			return errs
		})},
		{name: "cuts long headers of a batch", found: "SetHeaders/Each", wrong: batched(func(ctx context.Context, a *altered, updates []backend.HeaderUpdate) []error {
			updates = slices.Clone(updates)
			for i, u := range updates {
				updates[i].New = u.New[:min(len(u.New), backend.MaxHeader)]
			}
			return oneByOne(ctx, a.Blobs, updates)
		})},
		{name: "sorts a batch, and its errors", found: "SetHeaders/Many", wrong: batched(func(ctx context.Context, a *altered, updates []backend.HeaderUpdate) []error {
			sorted := slices.SortedFunc(slices.Values(updates), func(x, y backend.HeaderUpdate) int { return cmp.Compare(x.Name, y.Name) })
			return oneByOne(ctx, a.Blobs, sorted)
		})},
		{name: "sorts the caller's batch", found: "SetHeaders/Many", wrong: batched(func(ctx context.Context, a *altered, updates []backend.HeaderUpdate) []error {
			slices.SortFunc(updates, func(x, y backend.HeaderUpdate) int { return cmp.Compare(x.Name, y.Name) })
			return oneByOne(ctx, a.Blobs, updates)
		})},
		{name: "refuses large batches", found: "SetHeaders/Many", wrong: batched(func(ctx context.Context, a *altered, updates []backend.HeaderUpdate) []error {
			if len(updates) > 2048 {
				return slices.Repeat([]error{atrest.ErrTooLarge}, len(updates))
			}
			return oneByOne(ctx, a.Blobs, updates)
		})},
		{name: "does the first part of large batches", found: "SetHeaders/Many", wrong: batched(func(ctx context.Context, a *altered, updates []backend.HeaderUpdate) []error {
			errs := make([]error, len(updates))
			copy(errs, oneByOne(ctx, a.Blobs, updates[:min(len(updates), 2048)]))
			return errs
		})},
		{name: "takes the last update of a name for all", found: "SetHeaders/Duplicates", wrong: batched(func(ctx context.Context, a *altered, updates []backend.HeaderUpdate) []error {
			last := make(map[string]int)
			for i, u := range updates {
				last[u.Name] = i
			}
			errs := make([]error, len(updates))
			for _, i := range last {
				errs[i] = a.Blobs.SetHeader(ctx, updates[i])
			}
			return errs
		})},
		{name: "returns an error for nothing", found: "SetHeaders/Empty", wrong: batched(func(ctx context.Context, a *altered, updates []backend.HeaderUpdate) []error {
			return append(oneByOne(ctx, a.Blobs, updates), make([]error, max(0, 1-len(updates)))...)
		})},
		{name: "sets batches after its context has ended", found: "SetHeaders/Canceled", wrong: batched(func(ctx context.Context, a *altered, updates []backend.HeaderUpdate) []error {
			return oneByOne(context.WithoutCancel(ctx), a.Blobs, updates)
		})},
		{name: "sets a batch and then looks at its context", found: "SetHeaders/Canceled", wrong: batched(func(ctx context.Context, a *altered, updates []backend.HeaderUpdate) []error {
			errs := oneByOne(context.WithoutCancel(ctx), a.Blobs, updates)
			for i := range errs {
				errs[i] = cmp.Or(ctx.Err(), errs[i])
			}
			return errs
		})},
		{name: "lets two batches set the same header", found: "SetHeadersRaces/EachOther", wrong: batched(func(ctx context.Context, a *altered, updates []backend.HeaderUpdate) []error {
			errs := make([]error, len(updates))
			for i, u := range updates {
				o, err := a.Blobs.Get(ctx, u.Name, backend.Range{}, u.Version)
				if err != nil || !bytes.Equal(o.Header, u.Old) {
					errs[i] = atrest.ErrConflict
				}
			}
			time.Sleep(moment)
			for i, u := range updates {
				if o, err := a.Blobs.Get(ctx, u.Name, backend.Range{}, u.Version); errs[i] == nil && err == nil {
					u.Old = o.Header
					errs[i] = a.Blobs.SetHeader(ctx, u)
				}
			}
			return errs
		})},
		{name: "locks in the order of the batch", found: "SetHeadersRaces/EachOther", wrong: lockInOrder},
		{name: "sets a batch of headers of later contents", found: "SetHeadersRaces/AgainstPut", wrong: batched(func(ctx context.Context, a *altered, updates []backend.HeaderUpdate) []error {
			updates = slices.Clone(updates)
			for i, u := range updates {
				if o, err := a.Blobs.Get(ctx, u.Name, backend.Range{}, ""); err == nil {
					updates[i].Version, updates[i].Old = o.Version, o.Header
				}
			}
			return oneByOne(ctx, a.Blobs, updates)
		})},
	}
}

// lockInOrder takes a lock for each name, in the order of the batch, and gives
// none back before the end.
func lockInOrder(a *altered) {
	lock := locks()
	a.setHeaders = func(ctx context.Context, updates []backend.HeaderUpdate) []error {
		for _, u := range updates {
			defer lock(u.Name)()
			time.Sleep(moment / 10)
		}
		return oneByOne(ctx, a.Blobs, updates)
	}
}

// locks returns what takes the lock of a name, and returns what gives it back.
func locks() func(name string) (unlock func()) {
	var mu sync.Mutex
	locks := make(map[string]*sync.Mutex)
	of := func(name string) *sync.Mutex {
		mu.Lock()
		defer mu.Unlock()
		if locks[name] == nil {
			locks[name] = new(sync.Mutex)
		}
		return locks[name]
	}
	return func(name string) func() {
		l := of(name)
		l.Lock()
		return l.Unlock
	}
}
