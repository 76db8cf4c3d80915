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
	// are in memory.
	Concurrency int
}

// A Secret is a small object, whole.
type Secret struct {
	Name    string
	Content []byte
	// Options, if not nil, are for the put of this one.
	Options *PutOptions
}

// PutMany puts secrets, many at a time, each as [Store.PutBytes] does, and yields what became of
// each in the order in which they came: its Info, or its name and an error. One that fails
// does not keep the others from being put. An error that is not about one object, such as a
// sealed Vault or a storage engine that can't be reached or refuses (ErrPermission), ends
// it, and comes with an empty Info; so does one that secrets yields, and the last of
// 100 errors in a row that don't say that they are about one object.
//
// What was put stays when the loop ends early, and so may what was under way. What has been
// yielded without an error is as durable as the backend makes it. secrets is read ahead
// of the loop, and a secret's Content must not change until its Info was yielded. Two
// of one name may be put in either order.
func (s *Store) PutMany(ctx context.Context, secrets iter.Seq2[Secret, error], opts *ManyOptions) iter.Seq2[Info, error] {
	put := func(ctx context.Context, secret Secret) (Info, error) {
		info, err := s.PutBytes(ctx, secret.Name, secret.Content, secret.Options)
		info.Name = secret.Name
		return info, err
	}
	return many(ctx, "put many", secrets, opts, put)
}

// GetMany gets objects, many at a time, each as [Store.GetBytes] does, and yields them in the order
// of the names, or a Got with the name alone and an error. What ends it is as for PutMany.
func (s *Store) GetMany(ctx context.Context, names iter.Seq2[string, error], opts *ManyOptions) iter.Seq2[Got, error] {
	get := func(ctx context.Context, name string) (Got, error) {
		content, info, err := s.GetBytes(ctx, name)
		info.Name = name
		return Got{info, content}, err
	}
	return many(ctx, "get many", names, opts, get)
}

// Got is an object that was got whole.
type Got struct {
	Info    Info
	Content []byte
}

// many does something with each item, many at a time.
func many[In, Out any](ctx context.Context, doing string, items iter.Seq2[In, error], opts *ManyOptions, do func(context.Context, In) (Out, error)) iter.Seq2[Out, error] {
	if opts == nil {
		opts = new(ManyOptions)
	}
	type result struct {
		out Out
		err error
	}
	seq := func(context.Context) iter.Seq2[In, error] { return items }
	results := ordered(ctx, seq, orDefault(opts.Concurrency, manyAtOnce), func(ctx context.Context, item In) result {
		out, err := do(ctx, item)
		return result{out, err}
	})
	return func(yield func(Out, error) bool) {
		var none Out
		var unexplained streak
		for r, err := range results {
			switch {
			case err != nil:
				yield(none, fmt.Errorf("storage: %s: %w", doing, err))
				return
			case r.err != nil && isFatal(ctx, r.err):
				yield(none, r.err)
				return
			}
			if !yield(r.out, r.err) {
				return
			}
			unexplained.follow(r.err)
			if err := unexplained.err(doing, r.err); err != nil {
				yield(none, err)
				return
			}
		}
	}
}
