package storage

import (
	"context"
	"iter"
	"sync"
)

// ordered applies f to each item of a sequence on up to n goroutines, and
// yields the results in the order of the items. An error of the sequence is
// yielded in its place. The sequence is made with a context that ends with the
// loop, and all goroutines have ended when the loop has.
func ordered[In, Out any](ctx context.Context, seq func(context.Context) iter.Seq2[In, error], n int, f func(context.Context, In) Out) iter.Seq2[Out, error] {
	return func(yield func(Out, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()

		type result struct {
			out Out
			err error
		}
		// A result takes its place in the queue before its work begins, so the
		// queue's length, and the one that the consumer waits for, bound the
		// goroutines too.
		queue := make(chan chan result, n-1)
		wg.Go(func() {
			defer close(queue)
			for item, err := range seq(ctx) {
				place := make(chan result, 1)
				select {
				case queue <- place:
				case <-ctx.Done():
					return
				}
				if err != nil {
					place <- result{err: err}
					continue
				}
				wg.Go(func() { place <- result{out: f(ctx, item)} })
			}
		})
		for place := range queue {
			if r := <-place; !yield(r.out, r.err) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			var none Out
			yield(none, err)
		}
	}
}
