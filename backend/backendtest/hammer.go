package backendtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// testHammer calls everything at once on a few names for a second. Whatever is
// read must be whole; whatever is refused, for a reason.
func (s suite) testHammer(t *testing.T) {
	st := s.open(t)
	handles := s.handles(st, 8)
	ctx, stop := context.WithTimeout(st.ctx, time.Second)
	defer stop()
	calls := make([]int, len(handles))
	for _, err := range all(len(handles), func(i int) error {
		for ctx.Err() == nil {
			// The calls have a context that lasts: how they end early is the
			// business of other tests.
			if err := hammer(st.ctx, handles[i], rand.New(rand.NewPCG(uint64(i), uint64(calls[i])))); err != nil {
				return err
			}
			calls[i]++
		}
		return nil
	}) {
		if err != nil {
			t.Error(err)
		}
	}
	t.Logf("calls of each: %v", calls)

	list, err := entries(st.ctx, st, "", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		c, v, err := checkWhole(st.ctx, st, e.Name)
		if err != nil {
			t.Error(err)
		} else if !s.rightVersion(e, v) || c.size != e.Size {
			t.Errorf("%q is listed with version %q and size %d, and found with %q and %d", e.Name, e.Version, e.Size, v, c.size)
		}
		if err := st.Delete(st.ctx, e.Name, backend.Condition{}); err != nil {
			t.Error(err)
		}
	}
	st.wantNames("", "")
}

// hammer makes one call, chosen by r.
func hammer(ctx context.Context, b backend.Blobs, r *rand.Rand) error {
	name, other := fmt.Sprint("name", r.IntN(4)), fmt.Sprint("name", r.IntN(4))
	var cond backend.Condition
	c, v, err := checkWhole(ctx, b, name)
	if err != nil && !expected(err) {
		return err
	}
	if err == nil && r.IntN(2) == 0 {
		cond.IfVersion = v
	} else if err != nil {
		cond.IfAbsent = r.IntN(2) == 0
	}
	what := "Put"
	switch r.IntN(6) {
	case 0, 1:
		c := content{r.Uint64N(1 << 30), r.Int64N(100 * kib)}
		_, err = b.Put(ctx, name, c.header(), c.reader(), cond)
	case 2:
		what, cond.IfAbsent = "Delete", false
		err = b.Delete(ctx, name, cond)
	case 3:
		what = "Copy"
		if v != "" {
			_, err = b.Copy(ctx, other, name, v, c.header(), backend.Condition{})
		}
	case 4:
		what = "SetHeader"
		if v != "" {
			header := fmt.Appendf(c.header(), "; note %d", r.IntN(100))
			err = b.SetHeader(ctx, backend.HeaderUpdate{Name: name, Version: v, Old: c.header(), New: header})
		}
	case 5:
		what = "List"
		_, err = entries(ctx, b, "", "")
		if err != nil {
			return fmt.Errorf("listing: %w", err)
		}
	}
	if err != nil && !expected(err) {
		return fmt.Errorf("%s(%q) with %+v: %w", what, name, cond, err)
	}
	return nil
}

// expected reports whether err is one that another's call may be the reason of.
func expected(err error) bool {
	for _, target := range []error{atrest.ErrNotFound, atrest.ErrExists, atrest.ErrConflict, atrest.ErrUnsupported, errOvertaken} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
