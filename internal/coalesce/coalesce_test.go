package coalesce

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// echo is a Group of ints whose requests take the given time.
type echo struct {
	Group[int, int]
	took    time.Duration
	mu      sync.Mutex
	left    []string // the sizes of the batches, in the order in which they left
	dropped atomic.Int64
	orphans atomic.Int64
}

func newEcho(took time.Duration) *echo {
	e := &echo{took: took}
	e.Group = Group[int, int]{Config: Config[int, int]{
		Send: func(ctx context.Context, in []int) ([]int, []error) {
			e.mu.Lock()
			e.left = append(e.left, fmt.Sprint(len(in)))
			e.mu.Unlock()
			select {
			case <-time.After(e.took):
			case <-ctx.Done():
				return make([]int, len(in)), repeat(ctx.Err(), len(in))
			}
			return in, make([]error, len(in))
		},
		DropIn:   func(int) { e.dropped.Add(1) },
		DropOut:  func(int) { e.orphans.Add(1) },
		MaxBatch: 50, MaxInFlight: 4, Patience: 75 * time.Millisecond,
	}}
	return e
}

func repeat(err error, n int) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// check calls and wants its own number back.
func (e *echo) check(t *testing.T, ctx context.Context, n int) {
	t.Helper()
	if got, err := e.Do(ctx, n); err != nil || got != n {
		t.Errorf("Do(%d) = %d, %v", n, got, err)
	}
}

// sizes are those of the batches that have left.
func (e *echo) sizes() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.left, " ")
}

func TestGroupLoneCallNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(time.Millisecond)
		start := time.Now()
		for n := range 10 {
			e.check(t, t.Context(), n)
		}
		if took := time.Since(start); took != 10*time.Millisecond {
			t.Errorf("10 calls of 1 ms took %s", took)
		}
		if e.sizes() != "1 1 1 1 1 1 1 1 1 1" {
			t.Errorf("batches of %s", e.sizes())
		}
		if n := e.dropped.Load(); n != 10 {
			t.Errorf("dropped %d inputs of 10", n)
		}
	})
}

func TestGroupGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(time.Millisecond)
		start := time.Now()
		var wg sync.WaitGroup
		for n := range 50 {
			wg.Go(func() { e.check(t, t.Context(), n) })
			synctest.Wait() // else the first one lets others go first, and takes them along
		}
		wg.Wait()
		if took := time.Since(start); took != 2*time.Millisecond {
			t.Errorf("took %s, want two round trips", took)
		}
		if e.sizes() != "1 49" {
			t.Errorf("batches of %s", e.sizes())
		}
	})
}

// A full batch gains nothing from waiting: it leaves beside a young request,
// within the limit on requests.
func TestGroupFullBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(time.Millisecond)
		var wg sync.WaitGroup
		for n := range 300 {
			wg.Go(func() { e.check(t, t.Context(), n) })
			synctest.Wait()
		}
		if s := e.sizes(); strings.Count(s, "50") != 3 || strings.Count(s, " ") != 3 {
			t.Errorf("at first, batches of %s, want 1 and three of 50", s)
		}
		wg.Wait()
		if s := e.sizes(); strings.Count(s, " ") != 6 {
			t.Errorf("batches of %s, want 7", s)
		}
	})
}

func TestGroupCallerLeavesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(20 * time.Millisecond)
		var wg sync.WaitGroup
		leave := func(ctx context.Context, n int, after time.Duration) {
			start := time.Now()
			ctx, cancel := context.WithTimeout(ctx, after)
			defer cancel()
			_, err := e.Do(ctx, n)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "the answer") {
				t.Errorf("Do(%d) = %v", n, err)
			}
			if took := time.Since(start); took != after {
				t.Errorf("Do(%d) left after %s, not %s", n, took, after)
			}
		}
		wg.Go(func() { e.check(t, t.Context(), 0) })
		synctest.Wait() // 0 is under way, the others wait
		wg.Go(func() { leave(t.Context(), 1, 10*time.Millisecond) })
		wg.Go(func() { leave(t.Context(), 2, 30*time.Millisecond) })
		wg.Go(func() { e.check(t, t.Context(), 3) })
		wg.Wait()
		if e.sizes() != "1 2" { // 1 left before its batch did
			t.Errorf("batches of %s", e.sizes())
		}
		if e.dropped.Load() != 4 || e.orphans.Load() != 1 {
			t.Errorf("dropped %d inputs of 4, %d results of 1", e.dropped.Load(), e.orphans.Load())
		}
	})
}

func TestGroupAllCallersGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		ended := make(chan error, 1)
		c := newEcho(0)
		c.Send = func(ctx context.Context, in []int) ([]int, []error) {
			if ctx.Value(key{}) != "value" {
				t.Error("the caller's values are gone")
			}
			<-ctx.Done()
			ended <- ctx.Err()
			return make([]int, len(in)), repeat(ctx.Err(), len(in))
		}
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "value"), time.Second)
		defer cancel()
		if _, err := c.Do(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do = %v", err)
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the request ended with %v", err)
		}
	})
}

func TestGroupEndedContext(t *testing.T) {
	e := newEcho(0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Do(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Do = %v", err)
	}
	if e.sizes() != "" || e.dropped.Load() != 1 {
		t.Error("sent a call whose context had ended, or kept its input")
	}
}

// A request that is stuck delays the first who wait for it by the patience,
// and later calls not at all.
func TestGroupStuckRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(time.Millisecond)
		healthy := e.Send
		e.Send = func(ctx context.Context, in []int) ([]int, []error) {
			if in[0] == 0 {
				time.Sleep(time.Hour)
			}
			return healthy(ctx, in)
		}
		var wg sync.WaitGroup
		wg.Go(func() { e.check(t, t.Context(), 0) })
		synctest.Wait()
		start := time.Now()
		e.check(t, t.Context(), 1)
		if took := time.Since(start); took != 76*time.Millisecond {
			t.Errorf("the call behind the stuck request took %s", took)
		}
		start = time.Now()
		for n := range 10 {
			e.check(t, t.Context(), n+2)
		}
		if took := time.Since(start); took != 10*time.Millisecond {
			t.Errorf("10 later calls took %s", took)
		}
		wg.Wait()
	})
}

// However many are stuck, no more than MaxInFlight are under way.
func TestGroupStuckRequestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(time.Hour)
		var wg sync.WaitGroup
		for n := range 100 {
			wg.Go(func() { e.check(t, t.Context(), n) })
			time.Sleep(10 * time.Millisecond)
		}
		if s := e.sizes(); strings.Count(s, " ") != 3 {
			t.Errorf("under way: batches of %s, want 4", s)
		}
		wg.Wait()
	})
}

func TestGroupPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(time.Millisecond)
		healthy := e.Send
		e.Send = func(ctx context.Context, in []int) ([]int, []error) {
			switch in[0] {
			case 0:
				panic("boom")
			case 1:
				runtime.Goexit()
			case 2:
				return nil, nil // too few
			}
			return healthy(ctx, in)
		}
		func() {
			defer func() {
				if r := fmt.Sprint(recover()); !strings.HasPrefix(r, "boom") || !strings.Contains(r, "coalesce_test.go") {
					t.Errorf("recovered %q", r)
				}
			}()
			e.Do(t.Context(), 0)
		}()
		for n := 1; n <= 2; n++ {
			if _, err := e.Do(t.Context(), n); err == nil {
				t.Errorf("Do(%d) = nil error", n)
			}
		}
		e.check(t, t.Context(), 3)
		synctest.Wait() // for the landing to end
		if e.inFlight != 0 || len(e.young) != 0 || e.dropped.Load() != 4 {
			t.Errorf("in flight %d, young %d, dropped %d", e.inFlight, len(e.young), e.dropped.Load())
		}
	})
}
