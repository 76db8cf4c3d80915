package storage

import (
	"context"
	"fmt"
	"iter"
)

// manyAtOnce is how many secrets are put or got at a time, unless it is said otherwise. As many
// share requests to Vault and, where the backend can, statements. Measured with
// PostgreSQL and 1 KiB, see docs/benchmarks.md.
const manyAtOnce = 512

// ManyOptions are those of [Store.PutMany] and [Store.GetMany]. A nil *ManyOptions is the zero
// one.
type ManyOptions struct {
	// Concurrency is how many secrets are put or got at a time; zero means 512. As many
	// are in memory, and of a put up to half as many more that were read ahead.
	Concurrency int
}

func (o *ManyOptions) concurrency() int {
	if o == nil {
		return manyAtOnce
	}
	return orDefault(o.Concurrency, manyAtOnce)
}

// GetMany gets objects, many at a time, each as [Store.GetBytes] does, and yields them in the order
// of the names, or a Got with the name alone and an error. What ends it is as for PutMany.
func (s *Store) GetMany(ctx context.Context, names iter.Seq2[string, error], opts *ManyOptions) iter.Seq2[Got, error] {
	seq := func(context.Context) iter.Seq2[string, error] { return names }
	return many("get many", ordered(ctx, seq, opts.concurrency(), func(ctx context.Context, name string) []outcomeOf[Got] {
		content, info, err := s.GetBytes(ctx, name)
		info.Name = name
		return []outcomeOf[Got]{newOutcome(ctx, Got{info, content}, err)}
	}))
}

// Got is an object that was got whole.
type Got struct {
	Info    Info
	Content []byte
}

// An outcomeOf is what became of one item. Fatal is an error that is not about it alone.
type outcomeOf[Out any] struct {
	out   Out
	err   error
	fatal bool
}

func newOutcome[Out any](ctx context.Context, out Out, err error) outcomeOf[Out] {
	return outcomeOf[Out]{out, err, err != nil && isFatal(ctx, err)}
}

// many yields what became of each item, up to what ends it.
func many[Out any](doing string, chunks iter.Seq2[[]outcomeOf[Out], error]) iter.Seq2[Out, error] {
	return func(yield func(Out, error) bool) {
		var none Out
		var unexplained streak
		for chunk, err := range chunks {
			if err != nil {
				yield(none, fmt.Errorf("storage: %s: %w", doing, err))
				return
			}
			for _, o := range chunk {
				if o.fatal {
					yield(none, o.err)
					return
				}
				if !yield(o.out, o.err) {
					return
				}
				unexplained.follow(o.err)
				if err := unexplained.err(doing, o.err); err != nil {
					yield(none, err)
					return
				}
			}
		}
	}
}
