package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A crowd repeats an operation, by a number of callers at once.
type crowd struct {
	callers int
	// target is how long a run should take. The first one, which is not counted,
	// finds out how many operations that are.
	target time.Duration
	op     func(ctx context.Context, i int64) error

	perRun int64 // operations of a run; zero: not known yet
	next   int64 // counts the operations of all runs; each gets its own number
}

// run is that of a contender.
func (c *crowd) run(ctx context.Context) (int, error) {
	if c.perRun > 0 {
		return int(c.perRun), c.do(ctx, c.perRun)
	}
	// Grow until the time says something.
	n, total := int64(c.callers), 0
	for {
		start := time.Now()
		if err := c.do(ctx, n); err != nil {
			return 0, err
		}
		took := time.Since(start)
		total += int(n)
		if took >= c.target/8 {
			c.perRun = max(int64(float64(n)*c.target.Seconds()/took.Seconds()), c.least())
			return total, nil
		}
		n *= 4
	}
}

// least is how many operations say something of a rate: several for each caller,
// since what is under way alone, in the end, is slower.
func (c *crowd) least() int64 {
	return int64(min(4*c.callers, max(c.callers, 256)))
}

// do does n operations.
func (c *crowd) do(ctx context.Context, n int64) error {
	from := c.next
	c.next += n
	if c.callers == 1 {
		for i := from; i < c.next; i++ {
			if err := c.op(ctx, i); err != nil {
				return err
			}
		}
		return nil
	}
	return together(ctx, c.callers, n, func(ctx context.Context, i int64) error { return c.op(ctx, from+i) })
}

// together has callers call op with 0 to n-1, and returns the first error.
func together(ctx context.Context, callers int, n int64, op func(ctx context.Context, i int64) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= n {
					return
				}
				if err := op(ctx, i); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
