package backendtest_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// listing alters the sound list.
func listing(alter func(names []string, prefix string) []string) func(*alteredRecords) {
	return func(a *alteredRecords) {
		a.list = func(ctx context.Context, prefix string) iter.Seq2[string, error] {
			return func(yield func(string, error) bool) {
				var names []string
				for name, err := range a.Records.ListRecords(ctx, "") {
					if err != nil {
						yield("", err)
						return
					}
					names = append(names, name)
				}
				for _, name := range alter(names, prefix) {
					if err := ctx.Err(); err != nil {
						yield("", err)
						return
					}
					if !yield(name, nil) {
						return
					}
				}
			}
		}
	}
}

func withPrefix(names []string, prefix string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, prefix) })
}

func recordListMutants() []recordsMutant {
	return []recordsMutant{
		{name: "lists by the rules of a language", found: "List/Order", wrong: listing(func(names []string, prefix string) []string {
			letters := func(name string) string { return strings.NewReplacer("-", "", "_", "", ".", "").Replace(name) }
			slices.SortStableFunc(names, func(a, b string) int { return strings.Compare(letters(a), letters(b)) })
			return withPrefix(names, prefix)
		})},
		{name: "ignores the prefix", found: "List/Order", wrong: listing(func(names []string, _ string) []string { return names })},
		{name: "does not list the prefix itself", found: "List/Order", wrong: listing(func(names []string, prefix string) []string {
			return slices.DeleteFunc(withPrefix(names, prefix), func(name string) bool { return name == prefix })
		})},
		{name: "lists one page", found: "List/Large", wrong: listing(func(names []string, prefix string) []string {
			names = withPrefix(names, prefix)
			return names[:min(len(names), 1000)]
		})},
		{name: "lists the end of a page twice", found: "List/Large", wrong: listing(func(names []string, prefix string) []string {
			if names = withPrefix(names, prefix); len(names) > 1000 {
				names = slices.Insert(names, 1000, names[999])
			}
			return names
		})},
		{name: "stays locked while it lists", found: "List/Large", wrong: func(a *alteredRecords) {
			var mu sync.RWMutex
			a.list = func(ctx context.Context, prefix string) iter.Seq2[string, error] {
				return func(yield func(string, error) bool) {
					mu.RLock()
					defer mu.RUnlock()
					a.Records.ListRecords(ctx, prefix)(yield)
				}
			}
			a.delete = func(ctx context.Context, name string, old backend.Revision) error {
				if !mu.TryLock() {
					return atrest.ErrUnavailable // rather than wait for ever
				}
				defer mu.Unlock()
				return a.Records.DeleteRecord(ctx, name, old)
			}
		}},
	}
}

func recordCancelMutants() []recordsMutant {
	bg := context.WithoutCancel
	return []recordsMutant{
		{name: "gets after the end", found: "Cancel", wrong: func(a *alteredRecords) {
			a.get = func(ctx context.Context, name string) (backend.Record, error) {
				return a.Records.GetRecord(bg(ctx), name)
			}
		}},
		{name: "puts after the end", found: "Cancel", wrong: func(a *alteredRecords) {
			a.put = func(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error) {
				return a.Records.PutRecord(bg(ctx), name, data, old)
			}
		}},
		{name: "puts after the end, and says that it did not", found: "Cancel", wrong: func(a *alteredRecords) {
			a.put = func(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error) {
				v, err := a.Records.PutRecord(bg(ctx), name, data, old)
				return v, errors.Join(err, ctx.Err())
			}
		}},
		{name: "deletes after the end", found: "Cancel", wrong: func(a *alteredRecords) {
			a.delete = func(ctx context.Context, name string, old backend.Revision) error {
				return a.Records.DeleteRecord(bg(ctx), name, old)
			}
		}},
		{name: "lists after the end", found: "Cancel", wrong: func(a *alteredRecords) {
			a.list = func(ctx context.Context, prefix string) iter.Seq2[string, error] {
				return a.Records.ListRecords(bg(ctx), prefix)
			}
		}},
		{name: "locks after the end", found: "Cancel", wrong: func(a *alteredRecords) {
			a.lock = func(ctx context.Context, name string) (context.Context, func(), error) {
				return a.Records.LockRecords(bg(ctx), name)
			}
		}},
		{name: "hides the end", found: "Cancel", wrong: func(a *alteredRecords) {
			a.get = func(ctx context.Context, name string) (backend.Record, error) {
				r, err := a.Records.GetRecord(ctx, name)
				if ctx.Err() != nil {
					err = atrest.ErrUnavailable
				}
				return r, err
			}
		}},
	}
}
