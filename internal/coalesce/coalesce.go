// Package coalesce turns concurrent calls into few requests, like the group commit of a
// database.
package coalesce

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// A Group gathers concurrent calls. One rule decides when waiting calls leave, see pump:
// at once, unless young requests are under way, for whose return they wait.
//
// A lone call therefore never waits. Under load, the time that a request takes
// is the time in which the next batch gathers.
type Group[In, Out any] struct {
	Config[In, Out]

	mu       sync.Mutex
	waiting  []*call[In, Out]
	inFlight int
	young    []*flight[In, Out] // those in flight that waiting calls have patience with, oldest first
	overdue  *time.Timer        // set while calls wait; it ends the patience with the oldest
	took     [16]time.Duration  // by the last requests
	flown    int                // how many requests there were
}

// Config says how calls are made.
type Config[In, Out any] struct {
	// Send makes one request. It returns one result or one error for each
	// input, in their order. Its context has the values of the first call and
	// ends only when every caller has left.
	Send func(context.Context, []In) ([]Out, []error)

	// Alone, if it is there, makes the request of a call that no other goes with, in the
	// goroutine and with the context of its caller.
	Alone func(context.Context, In) (Out, error)

	// DropIn is told once of each input that is no longer needed, DropOut of
	// each result that nobody is there to take. Both may wipe.
	DropIn  func(In)
	DropOut func(Out)

	MaxBatch    int           // calls in a request
	MaxInFlight int           // requests under way
	MaxYoung    int           // of these, young ones beside which nothing leaves; 0 is 1
	MinBeside   int           // calls in a request that leaves beside a young one; 0 is 1
	Patience    time.Duration // how long a request is young

	// Near, unless it is 0, is what the fastest of the last requests takes longer than if it is
	// the way there that takes the time. Then waiting for one to return costs more than it saves,
	// and a request is young for a quarter of that time only.
	Near time.Duration

	// Linger is how long a call whose context has ended still waits for the request that
	// it shares, to return what became of it. The request is told to end once all
	// of its callers have left. 0 is not at all.
	Linger time.Duration
}

// ErrLeft is found in the error of a call that has left while its request was under way,
// so that what became of it is not known.
var ErrLeft = errors.New("waiting for the answer")

// New returns a Group.
func New[In, Out any](cfg Config[In, Out]) *Group[In, Out] {
	return &Group[In, Out]{Config: cfg}
}

// call is one caller's part. Its fields but ctx, in and the channels are guarded by
// the Group's mutex until done is closed.
type call[In, Out any] struct {
	ctx  context.Context // of the caller; for its values
	in   In
	turn chan struct{} // closed when the caller is to make the request itself
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
	callers int                // who have not left
	cancel  context.CancelFunc // nil if the only caller makes the request itself
	began   time.Time
}

// Do sends in, together with others, and returns its result. When ctx ends first, Do
// returns ctx's error, at once or after Linger, and the others are not disturbed.
// Do owns in, also when it fails.
func (g *Group[In, Out]) Do(ctx context.Context, in In) (Out, error) {
	var none Out
	if err := ctx.Err(); err != nil {
		g.DropIn(in)
		return none, err
	}
	x := &call[In, Out]{ctx: ctx, in: in, turn: make(chan struct{}), done: make(chan struct{})}
	g.enter(x)
	select {
	case <-x.done:
	case <-x.turn:
		return g.sendAlone(x)
	case <-ctx.Done():
		if err := g.leave(x); err != nil {
			return none, err
		}
	}
	if x.panicked != nil {
		panic(*x.panicked)
	}
	return x.out, x.err
}

// Waiting returns how many calls wait to leave.
func (g *Group[In, Out]) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting)
}

func (g *Group[In, Out]) enter(x *call[In, Out]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, x)
	if len(g.waiting) == 1 && g.idle() {
		// Callers that a request has just answered, here or one stage before, are ready to
		// run and about to come. Each of their calls is cheaper together with
		// this one. If there are none, this takes less than a microsecond.
		g.mu.Unlock()
		runtime.Gosched()
		g.mu.Lock()
	}
	g.pump()
}

// idle tells whether those that wait leave at once. The caller holds g.mu.
func (g *Group[In, Out]) idle() bool {
	beside := len(g.young) < g.MaxYoung && len(g.waiting) >= g.MinBeside
	return g.inFlight < g.MaxInFlight && (len(g.young) == 0 || beside)
}

// sendAlone makes a request in the goroutine of its only caller, where it may panic.
func (g *Group[In, Out]) sendAlone(x *call[In, Out]) (Out, error) {
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.DropIn(x.in)
		g.end(x.flight)
	}()
	return g.Alone(x.ctx, x.in)
}

// leave takes x out, or, if it shares a request that is under way, waits for that as long
// as Linger says. It returns nil if there is a result.
func (g *Group[In, Out]) leave(x *call[In, Out]) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case x.landed:
		return nil
	case x.flight == nil:
		i := slices.Index(g.waiting, x)
		g.waiting = slices.Delete(g.waiting, i, i+1)
		g.DropIn(x.in)
		return fmt.Errorf("waiting for the answer: %w", x.ctx.Err())
	case x.flight.cancel == nil: // its turn came at the same time
		g.DropIn(x.in)
		g.end(x.flight)
		return fmt.Errorf("waiting for the answer: %w", x.ctx.Err())
	}
	if x.flight.callers--; x.flight.callers == 0 {
		x.flight.cancel()
	}
	g.linger(x)
	if x.landed {
		return nil
	}
	x.left = true
	return fmt.Errorf("%w: %w", ErrLeft, x.ctx.Err())
}

// linger waits until x has landed, within limits. The caller holds g.mu, which is free in
// the meantime.
func (g *Group[In, Out]) linger(x *call[In, Out]) {
	if g.Linger == 0 {
		return
	}
	g.mu.Unlock()
	defer g.mu.Lock()
	timer := time.NewTimer(g.Linger)
	defer timer.Stop()
	select {
	case <-x.done:
	case <-timer.C:
	}
}

// pump launches waiting calls for as long as they should not wait: no young request is
// under way, or fewer than MaxYoung and MinBeside calls wait, or they fill a batch,
// which would gain nothing from waiting. The caller holds g.mu.
func (g *Group[In, Out]) pump() {
	for len(g.waiting) > 0 && (g.idle() || g.inFlight < g.MaxInFlight && len(g.waiting) >= g.MaxBatch) {
		n := min(len(g.waiting), g.MaxBatch)
		calls := slices.Clone(g.waiting[:n])
		g.waiting = slices.Delete(g.waiting, 0, n)
		g.launch(calls)
	}
	g.watch()
}

// watch sets the timer if somebody is there to be impatient, which a lone caller never
// is: a timer of its own for each request would cost it 20 µs of waking up threads.
// The caller holds g.mu.
func (g *Group[In, Out]) watch() {
	if len(g.waiting) == 0 || len(g.young) == 0 || g.overdue != nil {
		return
	}
	g.overdue = time.AfterFunc(time.Until(g.young[0].began.Add(g.patience())), func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.overdue = nil
		for patience := g.patience(); len(g.young) > 0 && time.Since(g.young[0].began) >= patience; {
			g.young = slices.Delete(g.young, 0, 1)
		}
		g.pump()
	})
}

// patience is how long a request is young. The caller holds g.mu.
func (g *Group[In, Out]) patience() time.Duration {
	n := min(g.flown, len(g.took))
	if g.Near == 0 || n == 0 {
		return g.Patience
	}
	if fastest := slices.Min(g.took[:n]); fastest > g.Near {
		return min(fastest/4, g.Patience)
	}
	return g.Patience
}

// launch makes one request of the calls. The caller holds g.mu.
func (g *Group[In, Out]) launch(calls []*call[In, Out]) {
	f := &flight[In, Out]{calls: calls, callers: len(calls), began: time.Now()}
	for _, x := range calls {
		x.flight = f
	}
	g.inFlight++
	g.young = append(g.young, f)
	if len(calls) == 1 && g.Alone != nil {
		close(calls[0].turn)
		return
	}
	// The request belongs to all of its callers: it may not end with the first.
	ctx, cancel := context.WithCancel(context.WithoutCancel(calls[0].ctx))
	f.cancel = cancel
	go g.fly(ctx, f)
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
	g.end(f)
}

// end makes room for the next request. The caller holds g.mu.
func (g *Group[In, Out]) end(f *flight[In, Out]) {
	if i := slices.Index(g.young, f); i >= 0 {
		g.young = slices.Delete(g.young, i, i+1)
	}
	g.inFlight--
	g.took[g.flown%len(g.took)] = time.Since(f.began)
	g.flown++
	g.pump()
}
