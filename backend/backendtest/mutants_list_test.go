package backendtest_test

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/atrest/atrest/backend"
)

// filtered passes a listing through a function that may drop or change.
func filtered(keep func(i int, e *backend.Entry) bool) func(*altered) {
	return func(a *altered) {
		a.list = func(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
			return func(yield func(backend.Entry, error) bool) {
				i := 0
				for e, err := range a.Blobs.List(ctx, prefix, after) {
					i++
					if (err != nil || keep(i, &e)) && !yield(e, err) {
						return
					}
				}
			}
		}
	}
}

func listMutants() []mutant {
	return []mutant{
		{name: "lists in the order of raw names", found: "List/Prefixes", wrong: func(a *altered) { a.list = rawOrder(a.Blobs) }},
		{name: "lists in the order of raw names, odd ones", found: "Names/Odd/are listed", wrong: func(a *altered) { a.list = rawOrder(a.Blobs) }},
		{name: "lists a thousand", found: "List/Many/entries", wrong: filtered(func(i int, _ *backend.Entry) bool { return i <= 1000 })},
		{name: "loses the first of a page", found: "List/Many/stop", wrong: filtered(func(i int, _ *backend.Entry) bool { return i != 1001 })},
		{name: "lists wrong sizes", found: "List/Many/entries", wrong: filtered(func(_ int, e *backend.Entry) bool { e.Size--; return true })},
		{name: "lists wrong versions", found: "List/Many/entries", wrong: filtered(func(_ int, e *backend.Entry) bool { e.Version += "x"; return true })},
		{name: "lists no headers", found: "List/Large", wrong: filtered(func(_ int, e *backend.Entry) bool { e.Header = nil; return true })},
		{name: "lists once", found: "List/Many/twice", wrong: func(a *altered) {
			a.list = func(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
				next, stop := iter.Pull2(a.Blobs.List(ctx, prefix, after))
				return func(yield func(backend.Entry, error) bool) {
					defer stop()
					for e, err, ok := next(); ok && yield(e, err); e, err, ok = next() {
					}
				}
			}
		}},
		{name: "lists after, inclusively", found: "List/Many/after", wrong: func(a *altered) {
			a.list = func(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
				return a.Blobs.List(ctx, prefix, after[:max(0, len(after)-1)])
			}
		}},
		{name: "lists folders only", found: "List/Many/prefix", wrong: func(a *altered) {
			a.list = func(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
				if prefix != "" && !strings.HasSuffix(prefix, "/") {
					prefix += "/"
				}
				return a.Blobs.List(ctx, prefix, after)
			}
		}},
		{name: "lists on after its context has ended", found: "List/Many/Canceled", wrong: func(a *altered) {
			a.list = func(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
				return a.Blobs.List(context.WithoutCancel(ctx), prefix, after)
			}
		}},
		{name: "repeats the error of a listing", found: "Cancel/Canceled/Before", wrong: func(a *altered) {
			a.list = func(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
				return func(yield func(backend.Entry, error) bool) {
					for e, err := range a.Blobs.List(ctx, prefix, after) {
						if !yield(e, err) || err != nil && !yield(e, err) {
							return
						}
					}
				}
			}
		}},
		{name: "ends quietly when its context has ended", found: "List/Many/Canceled", wrong: filteredErrors},
		{name: "locks while it lists", found: "List/Changing/Delete", wrong: func(a *altered) {
			var mu sync.RWMutex
			a.list = func(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
				return func(yield func(backend.Entry, error) bool) {
					mu.RLock()
					defer mu.RUnlock()
					a.Blobs.List(ctx, prefix, after)(yield)
				}
			}
			a.delete = func(ctx context.Context, name string, cond backend.Condition) error {
				mu.Lock()
				defer mu.Unlock()
				return a.Blobs.Delete(ctx, name, cond)
			}
		}},
		{name: "lists by number", found: "List/Changing/DeleteSome", wrong: func(a *altered) { a.list = byNumber(a.Blobs) }},
	}
}

func filteredErrors(a *altered) {
	a.list = func(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
		return func(yield func(backend.Entry, error) bool) {
			for e, err := range a.Blobs.List(ctx, prefix, after) {
				if err != nil || !yield(e, nil) {
					return
				}
			}
		}
	}
}

type lister = func(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error]

// collect holds a whole listing.
func collect(seq iter.Seq2[backend.Entry, error]) (list []backend.Entry, err error) {
	for e, err := range seq {
		if err != nil {
			return list, err
		}
		list = append(list, e)
	}
	return list, nil
}

func rawOrder(b backend.Blobs) lister {
	return func(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
		return func(yield func(backend.Entry, error) bool) {
			list, err := collect(b.List(ctx, prefix, after))
			slices.SortFunc(list, func(x, y backend.Entry) int { return strings.Compare(x.Name, y.Name) })
			for _, e := range list {
				if !yield(e, nil) {
					return
				}
			}
			if err != nil {
				yield(backend.Entry{}, err)
			}
		}
	}
}

// byNumber lists in pages that begin at a number, as LIMIT and OFFSET do.
func byNumber(b backend.Blobs) lister {
	return func(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
		return func(yield func(backend.Entry, error) bool) {
			for offset := 0; ; offset += 10 {
				list, err := collect(b.List(ctx, prefix, after))
				if err != nil {
					yield(backend.Entry{}, err)
					return
				}
				if offset >= len(list) {
					return
				}
				for _, e := range list[offset:min(offset+10, len(list))] {
					if !yield(e, nil) {
						return
					}
				}
			}
		}
	}
}
