package backendtest_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sync"
	"sync/atomic"
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
		{name: "claims to have no conditional delete", found: "Conditions/DeleteUnsupported", cfg: withoutConditionalDelete},
		{name: "claims to have no conditional delete, by the model", found: "Model", cfg: withoutConditionalDelete},
		{name: "refuses a conditional delete and does it", found: "Conditions/DeleteUnsupported", cfg: withoutConditionalDelete, wrong: func(a *altered) {
			a.delete = func(ctx context.Context, name string, cond backend.Condition) error {
				err := a.Blobs.Delete(ctx, name, cond)
				if cond.IfVersion != "" {
					err = atrest.ErrUnsupported
				}
				return err
			}
		}},
		{name: "does not tell that it has no conditional delete", found: "Conditions/Delete", wrong: refuseConditionalDelete},
		{name: "claims to list no headers", found: "List/Large", cfg: func(cfg *backendtest.Config) { cfg.ListWithoutHeaders = true }},
		{name: "lists wrong versions and no headers", found: "List/Large", cfg: func(cfg *backendtest.Config) { cfg.ListWithoutHeaders = true },
			wrong: filtered(func(_ int, e *backend.Entry) bool { e.Header = nil; e.Version += "x"; return true })},
		{name: "does not tell that it has no conditions", found: "Conditions/Put/IfAbsent", wrong: withoutConditions},
		{name: "names a group that there is not", found: "Groups", cfg: func(cfg *backendtest.Config) { cfg.Groups = []string{"Conditions", "Condition"} }},
		{name: "claims that a delete may lose, and it always does", found: "SetHeaderRaces/AgainstDelete", cfg: func(cfg *backendtest.Config) { cfg.DeleteMayLose = true },
			wrong: func(a *altered) {
				a.delete = func(context.Context, string, backend.Condition) error { return nil }
			}},
		{name: "does not tell that a delete may lose", found: "SetHeaderRaces/AgainstDelete", wrong: loseDeletes},
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

// TestNoConditionalDelete runs the suite on an engine that lacks conditions on
// deletions alone.
func TestNoConditionalDelete(t *testing.T) {
	cfg := config(refuseConditionalDelete)
	withoutConditionalDelete(&cfg)
	cfg.ModelRuns, cfg.Slow = 20, true
	backendtest.Run(t, cfg)
}

func withoutConditionalDelete(cfg *backendtest.Config) { cfg.NoConditionalDelete = true }

func refuseConditionalDelete(a *altered) {
	a.delete = func(ctx context.Context, name string, cond backend.Condition) error {
		if cond.IfVersion != "" {
			return atrest.ErrUnsupported
		}
		return a.Blobs.Delete(ctx, name, cond)
	}
}

// loseDeletes has every other Delete undone at once, by some SetHeader as it were.
func loseDeletes(a *altered) {
	var deletes atomic.Int32
	a.delete = func(ctx context.Context, name string, cond backend.Condition) error {
		if deletes.Add(1)%2 == 1 {
			return nil
		}
		return a.Blobs.Delete(ctx, name, cond)
	}
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
