package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// target is the object that scenarios change. It is alone in its directories,
// so that these are made and removed too.
const target = "team/app/état"

// A state is what may be at target; the zero state is nothing.
type state struct {
	header string
	size   int
	seed   byte
}

func (st state) body() []byte {
	b := make([]byte, st.size)
	for i := range b {
		b[i] = byte(i*7+i/251) ^ st.seed
	}
	return b
}

const big = inlineLimit + 5000

var (
	nothing  = state{}
	oldSmall = state{"old small", 700, 1}
	newSmall = state{"new small", 900, 2}
	oldBig   = state{"old big", big, 3}
	newBig   = state{"new big", big + 1000, 4}
	other    = state{"bystander", big + 77, 5}
	otherTwo = state{"small bystander", 77, 6}
)

// A scenario is one change that takes target from one state to another.
type scenario struct {
	name     string
	from, to state
	do       func(ctx context.Context, s *Store, sc scenario) error
}

var scenarios = []scenario{
	{"put small", nothing, newSmall, doPut},
	{"put big", nothing, newBig, doPut},
	{"small over small", oldSmall, newSmall, doPut},
	{"big over small", oldSmall, newBig, doPut},
	{"small over big", oldBig, newSmall, doPut},
	{"big over big", oldBig, newBig, doPut},
	{"copy small", nothing, state{"copied", otherTwo.size, otherTwo.seed}, doCopy("bystander/small")},
	{"copy big", nothing, state{"copied", other.size, other.seed}, doCopy("bystander/big")},
	{"copy big over big", oldBig, state{"copied", other.size, other.seed}, doCopy("bystander/big")},
	{"set header small", oldSmall, state{"other header", oldSmall.size, oldSmall.seed}, doSetHeader},
	{"set header big", oldBig, state{"other header", oldBig.size, oldBig.seed}, doSetHeader},
	{"delete small", oldSmall, nothing, doDelete},
	{"delete big", oldBig, nothing, doDelete},
}

func doPut(ctx context.Context, s *Store, sc scenario) error {
	_, err := s.Put(ctx, target, []byte(sc.to.header), bytes.NewReader(sc.to.body()), backend.Condition{})
	return err
}

func doCopy(src string) func(context.Context, *Store, scenario) error {
	return func(ctx context.Context, s *Store, sc scenario) error {
		o, err := s.Get(ctx, src, backend.Range{}, "")
		if err != nil {
			return err
		}
		o.Body.Close()
		_, err = s.Copy(ctx, target, src, o.Version, []byte(sc.to.header), backend.Condition{})
		return err
	}
}

func doSetHeader(ctx context.Context, s *Store, sc scenario) error {
	o, err := s.Get(ctx, target, backend.Range{}, "")
	if err != nil {
		return err
	}
	o.Body.Close()
	return s.SetHeader(ctx, backend.HeaderUpdate{Name: target, Version: o.Version, Old: o.Header, New: []byte(sc.to.header)})
}

func doDelete(ctx context.Context, s *Store, _ scenario) error {
	return s.Delete(ctx, target, backend.Condition{})
}

// prepareScenario fills a fresh directory with what the scenario starts from.
func prepareScenario(t *testing.T, sc scenario) (dir string) {
	t.Helper()
	dir = t.TempDir() + "/store"
	s, err := New(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, st := range map[string]state{target: sc.from, "bystander/big": other, "bystander/small": otherTwo} {
		if st == nothing {
			continue
		}
		if _, err := s.Put(t.Context(), name, []byte(st.header), bytes.NewReader(st.body()), backend.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// is returns nil if name is exactly in the state.
func is(ctx context.Context, s *Store, name string, want state) error {
	o, err := s.Get(ctx, name, backend.All, "")
	if want == nothing {
		if errors.Is(err, atrest.ErrNotFound) {
			return nil
		}
		return fmt.Errorf("found, or %w", err)
	}
	if err != nil {
		return err
	}
	defer o.Body.Close()
	body, err := io.ReadAll(o.Body)
	if err != nil {
		return err
	}
	if string(o.Header) != want.header || o.Size != int64(want.size) || !bytes.Equal(body, want.body()) {
		return fmt.Errorf("header %q and %d bytes", o.Header, len(body))
	}
	return nil
}

// checkScenario opens the store again, which sweeps, and fails the test unless
// target is in one of the states, the other objects are as they were, and
// nothing else is there.
func checkScenario(t *testing.T, dir string, allowed ...state) {
	t.Helper()
	s, err := New(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var errs []error
	for _, st := range allowed {
		errs = append(errs, is(t.Context(), s, target, st))
	}
	if !contains(errs, nil) {
		t.Errorf("target is in none of the states %v: %v", allowed, errs)
	}
	for name, st := range map[string]state{"bystander/big": other, "bystander/small": otherTwo} {
		if err := is(t.Context(), s, name, st); err != nil {
			t.Errorf("%s was harmed: %v", name, err)
		}
	}
	if left := residue(t, dir); len(left) > 0 {
		t.Errorf("residue: %q", left)
	}
}

func contains(errs []error, want error) bool {
	return slices.Contains(errs, want)
}
