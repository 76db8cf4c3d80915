package coalesce

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// aloneEcho is an echo whose lone calls are made by their callers.
func aloneEcho(took time.Duration) *echo {
	e := newEcho(took)
	e.Alone = func(ctx context.Context, n int) (int, error) {
		e.mu.Lock()
		e.left = append(e.left, "alone")
		e.mu.Unlock()
		select {
		case <-time.After(e.took):
			return n, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return e
}

// A call with which no other goes has its caller's context, whether it left at once or
// has waited.
func TestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		e := aloneEcho(time.Millisecond)
		made := e.Alone
		e.Alone = func(ctx context.Context, n int) (int, error) {
			if ctx.Value(key{}) != n {
				t.Errorf("call %d has the context of call %v", n, ctx.Value(key{}))
			}
			return made(ctx, n)
		}
		var wg sync.WaitGroup
		for n := range 2 {
			wg.Go(func() { e.check(t, context.WithValue(t.Context(), key{}, n), n) })
			synctest.Wait()
		}
		if n := e.Waiting(); n != 1 {
			t.Errorf("%d calls wait", n)
		}
		wg.Wait()
		for n := range 3 {
			wg.Go(func() { e.check(t, context.WithValue(t.Context(), key{}, n), n) })
			synctest.Wait()
		}
		wg.Wait()
		synctest.Wait() // for the landing to end
		if e.sizes() != "alone alone alone 2" {
			t.Errorf("batches of %s", e.sizes())
		}
		if e.inFlight != 0 || len(e.young) != 0 || e.dropped.Load() != 5 {
			t.Errorf("in flight %d, young %d, dropped %d", e.inFlight, len(e.young), e.dropped.Load())
		}
	})
}

// What panics in its caller's goroutine leaves room for others.
func TestAlonePanic(t *testing.T) {
	e := aloneEcho(0)
	made := e.Alone
	e.Alone = func(context.Context, int) (int, error) { panic("boom") }
	for range 10 {
		func() {
			defer func() {
				if r := recover(); r != "boom" {
					t.Errorf("recovered %v", r)
				}
			}()
			e.Do(t.Context(), 0)
		}()
	}
	e.Alone = made
	e.check(t, t.Context(), 1)
	if e.inFlight != 0 || len(e.young) != 0 || e.dropped.Load() != 11 {
		t.Errorf("in flight %d, young %d, dropped %d", e.inFlight, len(e.young), e.dropped.Load())
	}
}

// A stuck one holds others up no longer than a shared request does.
func TestAloneStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := aloneEcho(time.Hour)
		var wg sync.WaitGroup
		wg.Go(func() { e.check(t, t.Context(), 0) })
		synctest.Wait()
		synctest.Wait()
		e.took = time.Millisecond
		start := time.Now()
		e.check(t, t.Context(), 1)
		if took := time.Since(start); took != 76*time.Millisecond {
			t.Errorf("the call behind the stuck one took %s", took)
		}
		wg.Wait()
	})
}

// Calls whose contexts end at any moment leave nothing behind.
func TestAloneLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := aloneEcho(2 * time.Millisecond)
		e.Linger = time.Millisecond
		var wg sync.WaitGroup
		for n := range 500 {
			wg.Go(func() {
				time.Sleep(time.Duration(n%50) * time.Millisecond)
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n%7)*time.Millisecond)
				defer cancel()
				if got, err := e.Do(ctx, n); err == nil && got != n || err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
					t.Errorf("Do(%d) = %d, %v", n, got, err)
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		if e.inFlight != 0 || len(e.young) != 0 || e.Waiting() != 0 || e.dropped.Load() != 500 {
			t.Errorf("in flight %d, young %d, waiting %d, dropped %d", e.inFlight, len(e.young), e.Waiting(), e.dropped.Load())
		}
	})
}

// Beside young requests, as many as MaxYoung says leave, of as many calls as MinBeside says.
func TestMaxYoung(t *testing.T) {
	for _, c := range []struct {
		young, beside int
		want          string
	}{
		{3, 0, "alone alone alone 17"},
		{3, 1, "alone alone alone 17"},
		{3, 4, "alone 4 4 11"},
		{2, 12, "alone 12 7"},
		{2, 20, "alone 19"},
		{1, 4, "alone 19"},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := aloneEcho(time.Millisecond)
			e.MaxYoung, e.MinBeside = c.young, c.beside
			var wg sync.WaitGroup
			for n := range 20 {
				wg.Go(func() { e.check(t, t.Context(), n) })
				synctest.Wait()
			}
			wg.Wait()
			if e.sizes() != c.want {
				t.Errorf("%+v: batches of %s", c, e.sizes())
			}
		})
	}
}

// To where the way is long, requests leave while others are under way, as soon as that is known.
func TestFar(t *testing.T) {
	for _, c := range []struct {
		took, near time.Duration
		want       string
	}{
		{20500 * time.Microsecond, 0, "alone alone 20 19"},
		{20500 * time.Microsecond, 21 * time.Millisecond, "alone alone 20 19"},
		{20500 * time.Microsecond, 10 * time.Millisecond, "alone alone 5 5 5 5 5 5 5 4"},
		{400 * time.Millisecond, 10 * time.Millisecond, "alone alone 39"}, // the patience is 75 ms
	} {
		synctest.Test(t, func(t *testing.T) {
			e := aloneEcho(c.took)
			e.Near, e.MaxInFlight = c.near, 10
			e.check(t, t.Context(), 0)
			var wg sync.WaitGroup
			for n := range 40 {
				wg.Go(func() { e.check(t, t.Context(), n) })
				synctest.Wait()
				time.Sleep(time.Millisecond)
			}
			wg.Wait()
			if e.sizes() != c.want {
				t.Errorf("%+v: batches of %s", c, e.sizes())
			}
		})
	}
}

// One fast request among the last ones tells that the way is not long.
func TestNear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEcho(20 * time.Millisecond)
		e.Near = 10 * time.Millisecond
		one := func() time.Duration {
			e.check(t, t.Context(), 0)
			e.Group.mu.Lock()
			defer e.Group.mu.Unlock()
			return e.patience()
		}
		if got := one(); got != 5*time.Millisecond {
			t.Errorf("far: %v", got)
		}
		e.took = time.Millisecond
		if got := one(); got != e.Patience {
			t.Errorf("near: %v", got)
		}
		e.took = 20 * time.Millisecond
		for n := range 16 {
			want := e.Patience
			if n == 15 {
				want = 5 * time.Millisecond
			}
			if got := one(); got != want {
				t.Errorf("far again, %d: %v", n, got)
			}
		}
	})
}

// A call whose context has ended waits for the request that it shares, within limits.
func TestLinger(t *testing.T) {
	for _, c := range []struct {
		linger time.Duration
		all    bool // the callers leave
		want   string
		took   time.Duration
	}{
		{20 * time.Millisecond, false, "", 20 * time.Millisecond},
		{time.Millisecond, false, "left", 6 * time.Millisecond},
		{0, false, "left", 5 * time.Millisecond},
		{20 * time.Millisecond, true, "canceled", 5 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := newEcho(10 * time.Millisecond)
			e.Linger = c.linger
			var wg sync.WaitGroup
			wg.Go(func() { e.check(t, t.Context(), 0) })
			synctest.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			for n := range 3 {
				wg.Go(func() {
					if n > 0 && !c.all {
						e.check(t, t.Context(), n)
						return
					}
					start := time.Now()
					got, err := e.Do(ctx, n)
					took := time.Since(start) - 10*time.Millisecond // for the request before
					is := ""
					switch {
					case errors.Is(err, ErrLeft) && errors.Is(err, context.Canceled) && strings.Contains(err.Error(), "the answer"):
						is = "left"
					case err == context.Canceled:
						is = "canceled"
					case err != nil || got != n:
						is = fmt.Sprint(got, err)
					}
					if want := min(c.took, 10*time.Millisecond); is != c.want || took != want {
						t.Errorf("%+v: %q after %s, want %s", c, is, took, want)
					}
				})
			}
			time.Sleep(15 * time.Millisecond)
			cancel()
			wg.Wait()
		})
	}
}
