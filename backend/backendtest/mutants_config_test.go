package backendtest_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sync"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/backendtest"
	"github.com/atrest/atrest/backend/memory"
)

// configMutants claim what is not so, or do not tell what is.
func configMutants() []mutant {
	return []mutant{
		{name: "claims to have no conditions", found: "Conditions/Unsupported", cfg: func(cfg *backendtest.Config) { cfg.NoConditions = true }},
		{name: "claims to list no headers", found: "List/Large", cfg: func(cfg *backendtest.Config) { cfg.ListWithoutHeaders = true }},
		{name: "lists wrong versions and no headers", found: "List/Large", cfg: func(cfg *backendtest.Config) { cfg.ListWithoutHeaders = true },
			wrong: filtered(func(_ int, e *backend.Entry) bool { e.Header = nil; e.Version += "x"; return true })},
		{name: "does not tell that it has no conditions", found: "Conditions/Put/IfAbsent", wrong: withoutConditions},
		{name: "shares a store", found: "List", cfg: func(cfg *backendtest.Config) {
			b := memory.New()
			cfg.Open = func(*testing.T) backend.Blobs { return b }
		}},
	}
}

// TestShortcomings runs the suite on an engine that lacks all that a Config can
// tell of, and tells of it.
func TestShortcomings(t *testing.T) {
	cfg := config(func(a *altered) {
		withoutConditions(a)
		current(func(u *backend.HeaderUpdate, o *backend.Object) { u.Old = o.Header })(a)
		list := a.Blobs.List
		a.list = func(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
			return func(yield func(backend.Entry, error) bool) {
				for e, err := range list(ctx, prefix, after) {
					e.Header, e.Version = nil, ""
					if !yield(e, err) {
						return
					}
				}
			}
		}
	})
	cfg.NoConditions, cfg.NoHeaderCompare, cfg.ListWithoutHeaders = true, true, true
	cfg.Reopen = func(_ *testing.T, b backend.Blobs) backend.Blobs { return b }
	cfg.ModelRuns, cfg.Slow = 20, true
	backendtest.Run(t, cfg)
}

// withoutConditions refuses them all.
func withoutConditions(a *altered) {
	refuse := func(cond backend.Condition) error {
		if cond != (backend.Condition{}) {
			return atrest.ErrUnsupported
		}
		return nil
	}
	a.put = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
		if err := refuse(cond); err != nil {
			return "", err
		}
		return a.Blobs.Put(ctx, name, header, body, cond)
	}
	a.copy = func(ctx context.Context, dst, src string, v backend.Version, header []byte, cond backend.Condition) (backend.Version, error) {
		if err := refuse(cond); err != nil {
			return "", err
		}
		return a.Blobs.Copy(ctx, dst, src, v, header, cond)
	}
	a.delete = func(ctx context.Context, name string, cond backend.Condition) error {
		if err := refuse(cond); err != nil {
			return err
		}
		return a.Blobs.Delete(ctx, name, cond)
	}
}

// leaveResidue has each failed Put leave something behind.
func leaveResidue(cfg *backendtest.Config) {
	var mu sync.Mutex
	left := make(map[backend.Blobs][]string)
	*cfg = config(func(a *altered) {
		a.put = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
			v, err := a.Blobs.Put(ctx, name, header, body, cond)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				left[a] = append(left[a], fmt.Sprint(name, ".tmp"))
			}
			return v, err
		}
	})
	cfg.Residue = func(_ *testing.T, b backend.Blobs) []string {
		mu.Lock()
		defer mu.Unlock()
		return left[b]
	}
}

// lockPerHandle has each handle keep conditions against its own callers only.
func lockPerHandle(cfg *backendtest.Config) {
	handle := func(b backend.Blobs) backend.Blobs {
		a := &altered{Blobs: b}
		lookFirst(a)
		put := a.put
		var mu sync.Mutex
		a.put = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
			mu.Lock()
			defer mu.Unlock()
			return put(ctx, name, header, body, cond)
		}
		return a
	}
	cfg.Open = func(*testing.T) backend.Blobs { return handle(memory.New()) }
	cfg.Reopen = func(_ *testing.T, b backend.Blobs) backend.Blobs { return handle(b.(*altered).Blobs) }
}

// openAnother reopens a store by opening one that is empty.
func openAnother(cfg *backendtest.Config) {
	cfg.Reopen = func(*testing.T, backend.Blobs) backend.Blobs { return memory.New() }
}
