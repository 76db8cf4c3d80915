package transit

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// A coalescer turns concurrent calls into few requests, like the group commit
// of a database. One rule decides when waiting calls leave, see pump: at once,
// unless a young request is under way, whose return they wait for.
//
// A lone call therefore never waits. Under load, the time that a request takes
// is the time in which the next batch gathers.
type coalescer[In, Out any] struct {
	// send makes one request. It returns one result or one error for each
	// input, in their order. Its context has the values of the first call and
	// ends only when every caller has left.
	send func(context.Context, []In) ([]Out, []error)

	// dropIn is told once of each input that is no longer needed, dropOut of
	// each result that nobody is there to take. Both may wipe.
	dropIn  func(In)
	dropOut func(Out)

	maxBatch    int           // calls in a request
	maxInFlight int           // requests under way
	patience    time.Duration // how long a request is young

	mu       sync.Mutex
	waiting  []*call[In, Out]
	inFlight int
	young    int // those in flight that waiting calls have patience with
}

// call is one caller's part. Its fields but ctx, in and done are guarded by
// the coalescer's mutex until done is closed.
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

// do sends in, together with others, and returns its result. When ctx ends
// first, do returns ctx's error at once and the others are not disturbed.
// do owns in, also when it fails.
func (c *coalescer[In, Out]) do(ctx context.Context, in In) (Out, error) {
	var none Out
	if err := ctx.Err(); err != nil {
		c.dropIn(in)
		return none, err
	}
	x := &call[In, Out]{ctx: ctx, in: in, done: make(chan struct{})}
	c.enter(x)
	select {
	case <-x.done:
	case <-ctx.Done():
		if c.leave(x) {
			return none, fmt.Errorf("waiting for Vault's answer: %w", ctx.Err())
		}
	}
	if x.panicked != nil {
		panic(*x.panicked)
	}
	return x.out, x.err
}

func (c *coalescer[In, Out]) enter(x *call[In, Out]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, x)
	c.pump()
}

// leave takes x out, and reports false if its result is there already.
func (c *coalescer[In, Out]) leave(x *call[In, Out]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case x.landed:
		return false
	case x.flight == nil:
		i := slices.Index(c.waiting, x)
		c.waiting = slices.Delete(c.waiting, i, i+1)
		c.dropIn(x.in)
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
// waiting. The caller holds c.mu.
func (c *coalescer[In, Out]) pump() {
	for len(c.waiting) > 0 && c.inFlight < c.maxInFlight &&
		(c.young == 0 || len(c.waiting) >= c.maxBatch) {
		n := min(len(c.waiting), c.maxBatch)
		calls := slices.Clone(c.waiting[:n])
		c.waiting = slices.Delete(c.waiting, 0, n)
		c.launch(calls)
	}
}

func (c *coalescer[In, Out]) launch(calls []*call[In, Out]) {
	// The request belongs to all of its callers: it may not end with the first.
	ctx, cancel := context.WithCancel(context.WithoutCancel(calls[0].ctx))
	f := &flight[In, Out]{calls: calls, callers: len(calls), cancel: cancel, young: true}
	for _, x := range calls {
		x.flight = f
	}
	c.inFlight++
	c.young++
	f.overdue = time.AfterFunc(c.patience, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.age(f)
		c.pump()
	})
	go c.fly(ctx, f)
}

// age ends the patience with a request. The caller holds c.mu.
func (c *coalescer[In, Out]) age(f *flight[In, Out]) {
	if f.young {
		f.young = false
		c.young--
	}
}

// fly makes the request. The deferred landing frees the callers whatever send
// does: return, panic, or end its goroutine.
func (c *coalescer[In, Out]) fly(ctx context.Context, f *flight[In, Out]) {
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
		c.land(f, outs, errs, panicked)
	}()
	ins := make([]In, len(f.calls))
	for i, x := range f.calls {
		ins[i] = x.in
	}
	outs, errs = c.send(ctx, ins)
}

// land hands out the results. A panic goes on in the goroutine of each caller,
// where it can be recovered from, as if the caller had sent the request itself.
func (c *coalescer[In, Out]) land(f *flight[In, Out], outs []Out, errs []error, panicked *string) {
	f.cancel()
	f.overdue.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	complete := len(outs) == len(f.calls) && len(errs) == len(f.calls)
	for i, x := range f.calls {
		x.err, x.panicked = errors.New("the request ended without a result"), panicked
		if complete {
			x.out, x.err = outs[i], errs[i]
		}
		c.dropIn(x.in)
		if x.left {
			c.dropOut(x.out)
		}
		x.landed = true
		close(x.done)
	}
	c.age(f)
	c.inFlight--
	c.pump()
}
