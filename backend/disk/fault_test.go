package disk

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/atrest/atrest"
)

// A fault is a hook that lets one step go wrong, the nth since it was armed.
type fault struct {
	armed bool
	n     int
	step  int
	act   func(step func() error) error
}

func (f *fault) hook(op, name string, step func() error) error {
	if !f.armed {
		return step()
	}
	if f.step++; f.step == f.n {
		return f.act(step)
	}
	return step()
}

// fired tells whether the nth step was reached.
func (f *fault) fired() bool { return f.step >= f.n }

// TestFailAtEachStep lets each step of each change fail in turn, once so that
// it is not done, and once so that it is done and fails nevertheless.
func TestFailAtEachStep(t *testing.T) {
	injected := fmt.Errorf("injected: %w", syscall.EIO)
	ways := map[string]func(step func() error) error{
		"failed, not done": func(func() error) error { return injected },
		"failed, but done": func(step func() error) error {
			step()
			return injected
		},
	}
	for _, sc := range scenarios {
		for way, act := range ways {
			t.Run(sc.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				n := 1
				for failAt(t, sc, &fault{n: n, act: act}, injected) {
					n++
				}
				if n < 5 {
					t.Errorf("only %d steps were seen", n)
				}
			})
		}
	}
}

// failAt runs the scenario with the fault and reports whether it was reached.
func failAt(t *testing.T, sc scenario, f *fault, injected error) bool {
	t.Helper()
	dir := prepareScenario(t, sc)
	s, err := New(t.Context(), Config{Dir: dir, hook: f.hook})
	if err != nil {
		t.Fatal(err)
	}
	f.armed = true
	err = sc.do(t.Context(), s, sc)
	f.armed = false
	if err != nil && !errors.Is(err, injected) {
		t.Errorf("step %d: error %v does not tell what happened", f.n, err)
	}
	allowed := []state{sc.to}
	if err != nil {
		allowed = append(allowed, sc.from)
	}
	// Once in this process, with nothing swept, and once as after a restart.
	var errs []error
	for _, st := range allowed {
		errs = append(errs, is(t.Context(), s, target, st))
	}
	if !contains(errs, nil) {
		t.Errorf("step %d: target is in none of the states %v: %v", f.n, allowed, errs)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	checkScenario(t, dir, allowed...)
	if t.Failed() {
		t.Fatalf("with the fault at step %d, which made the change return %v", f.n, err)
	}
	return f.fired()
}

// TestFailedChangeCanBeRepeated checks that the same Store goes on after a
// failure of each step.
func TestFailedChangeCanBeRepeated(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				f := &fault{n: n, act: func(func() error) error { return syscall.ENOSPC }}
				dir := prepareScenario(t, sc)
				s, err := New(t.Context(), Config{Dir: dir, hook: f.hook})
				if err != nil {
					t.Fatal(err)
				}
				f.armed = true
				first := sc.do(t.Context(), s, sc)
				f.armed = false
				if err := sc.do(t.Context(), s, sc); err != nil {
					t.Errorf("step %d: first %v, then %v", n, first, err)
				}
				s.Close()
				checkScenario(t, dir, sc.to)
				if t.Failed() || !f.fired() {
					return
				}
			}
		})
	}
}

// TestPermissionIsRecognised checks what callers see of a refusal by the
// system.
func TestPermissionIsRecognised(t *testing.T) {
	for _, errno := range []error{syscall.EACCES, syscall.EPERM} {
		f := &fault{n: 2, act: func(func() error) error { return errno }}
		s := openStore(t, Config{Dir: t.TempDir() + "/store", hook: f.hook})
		f.armed = true
		err := doPut(t.Context(), s, scenario{to: newSmall})
		if !errors.Is(err, atrest.ErrPermission) || !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
	}
}
