// Package coalesce turns concurrent calls into few requests, like the group commit of a
// database.
package coalesce

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// A Group gathers concurrent calls. One rule decides when waiting calls leave, see pump:
// at once, unless a young request is under way, whose return they wait for.
//
// A lone call therefore never waits. Under load, the time that a request takes
// is the time in which the next batch gathers.
type Group[In, Out any] struct {
	Config[In, Out]

	mu       sync.Mutex
	waiting  []*call[In, Out]
	inFlight int
	young    int // those in flight that waiting calls have patience with
}

// Config says how calls are made.
type Config[In, Out any] struct {
	// Send makes one request. It returns one result or one error for each
	// input, in their order. Its context has the values of the first call and
	// ends only when every caller has left.
	Send func(context.Context, []In) ([]Out, []error)

	// DropIn is told once of each input that is no longer needed, DropOut of
	// each result that nobody is there to take. Both may wipe.
	DropIn  func(In)
	DropOut func(Out)

	MaxBatch    int           // calls in a request
	MaxInFlight int           // requests under way
	Patience    time.Duration // how long a request is young
}

// New returns a Group.
func New[In, Out any](cfg Config[In, Out]) *Group[In, Out] {
	return &Group[In, Out]{Config: cfg}
}

// call is one caller's part. Its fields but ctx, in and done are guarded by
// the Group's mutex until done is closed.
type call[In, Out any] struct {
	ctx  context.Context // of the caller; for its values
	in   In
	done chan struct{}

	out      Out
	err      error
	panicked *string

	flight *flight[In, Out] // nil while waiting
	left   bool             // the caller's context has ended
	landed bool             // done is closed
}

// flight is one request under way.
type flight[In, Out any] struct {
	calls   []*call[In, Out]
	callers int // who have not left
	cancel  context.CancelFunc
	young   bool
	overdue *time.Timer
}

// Do sends in, together with others, and returns its result. When ctx ends
// first, Do returns ctx's error at once and the others are not disturbed.
// Do owns in, also when it fails.
func (g *Group[In, Out]) Do(ctx context.Context, in In) (Out, error) {
	var none Out
	if err := ctx.Err(); err != nil {
		g.DropIn(in)
		return none, err
	}
	x := &call[In, Out]{ctx: ctx, in: in, done: make(chan struct{})}
	g.enter(x)
	select {
	case <-x.done:
	case <-ctx.Done():
		if g.leave(x) {
			return none, fmt.Errorf("waiting for the answer: %w", ctx.Err())
		}
	}
	if x.panicked != nil {
		panic(*x.panicked)
	}
	return x.out, x.err
}

func (g *Group[In, Out]) enter(x *call[In, Out]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, x)
	g.pump()
}

// leave takes x out, and reports false if its result is there already.
func (g *Group[In, Out]) leave(x *call[In, Out]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case x.landed:
		return false
	case x.flight == nil:
		i := slices.Index(g.waiting, x)
		g.waiting = slices.Delete(g.waiting, i, i+1)
		g.DropIn(x.in)
	default:
		x.left = true
		if x.flight.callers--; x.flight.callers == 0 {
			x.flight.cancel()
		}
	}
	return true
}

// pump launches waiting calls for as long as they should not wait: no young
// request is under way, or they fill a batch, which would gain nothing from
// waiting. The caller holds g.mu.
func (g *Group[In, Out]) pump() {
	for len(g.waiting) > 0 && g.inFlight < g.MaxInFlight &&
		(g.young == 0 || len(g.waiting) >= g.MaxBatch) {
		n := min(len(g.waiting), g.MaxBatch)
		calls := slices.Clone(g.waiting[:n])
		g.waiting = slices.Delete(g.waiting, 0, n)
		g.launch(calls)
	}
}

func (g *Group[In, Out]) launch(calls []*call[In, Out]) {
	// The request belongs to all of its callers: it may not end with the first.
	ctx, cancel := context.WithCancel(context.WithoutCancel(calls[0].ctx))
	f := &flight[In, Out]{calls: calls, callers: len(calls), cancel: cancel, young: true}
	for _, x := range calls {
		x.flight = f
	}
	g.inFlight++
	g.young++
	f.overdue = time.AfterFunc(g.Patience, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.age(f)
		g.pump()
	})
	go g.fly(ctx, f)
}

// age ends the patience with a request. The caller holds g.mu.
func (g *Group[In, Out]) age(f *flight[In, Out]) {
	if f.young {
		f.young = false
		g.young--
	}
}

// fly makes the request. The deferred landing frees the callers whatever send
// does: return, panic, or end its goroutine.
func (g *Group[In, Out]) fly(ctx context.Context, f *flight[In, Out]) {
	var (
		outs []Out
		errs []error
	)
	defer func() {
		var panicked *string
		if r := recover(); r != nil {
			text := fmt.Sprintf("%v\n\n%s", r, debug.Stack())
			panicked = &text
		}
		g.land(f, outs, errs, panicked)
	}()
	ins := make([]In, len(f.calls))
	for i, x := range f.calls {
		ins[i] = x.in
	}
	outs, errs = g.Send(ctx, ins)
}

// land hands out the results. A panic goes on in the goroutine of each caller,
// where it can be recovered from, as if the caller had sent the request itself.
func (g *Group[In, Out]) land(f *flight[In, Out], outs []Out, errs []error, panicked *string) {
	f.cancel()
	f.overdue.Stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	complete := len(outs) == len(f.calls) && len(errs) == len(f.calls)
	for i, x := range f.calls {
		x.err, x.panicked = errors.New("the request ended without a result"), panicked
		if complete {
			x.out, x.err = outs[i], errs[i]
		}
		g.DropIn(x.in)
		if x.left {
			g.DropOut(x.out)
		}
		x.landed = true
		close(x.done)
	}
	g.age(f)
	g.inFlight--
	g.pump()
}
