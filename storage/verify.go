package storage

import (
	"context"
	"fmt"
	"io"
	"iter"
)

// VerifyOptions say what to verify. A nil *VerifyOptions is the zero one.
type VerifyOptions struct {
	// Prefix and After are those of [ListOptions]. An interrupted verification
	// goes on after the last name that it yielded without an error.
	Prefix, After string
	// Concurrency is how many objects are read at a time; zero means 16.
	Concurrency int
}

// Verify reads every object to its end and yields what it found: its Info, of
// which all but the Version is authenticated, or its name and an error, which is
// ErrTampered if the object is not what was put there. A bad object, or one that
// can't be read, does not end the loop. An error that is not about one object,
// such as a sealed Vault, a storage engine that can't be reached or refuses
// (ErrPermission), or a listing that breaks off, does, and comes with an empty Info.
// So does the last of 100 errors in a row that don't say that they are about one
// object.
//
// Objects are yielded in the order of listings. What is put or deleted
// meanwhile may or may not be verified.
func (s *Store) Verify(ctx context.Context, opts *VerifyOptions) iter.Seq2[Info, error] {
	if opts == nil {
		opts = new(VerifyOptions)
	}
	asking := *s
	asking.cache = nil // whether Vault still opens an object is part of the question
	s = &asking
	type verdict struct {
		info Info
		err  error
	}
	names := func(ctx context.Context) iter.Seq2[string, error] { return s.names(ctx, opts.Prefix, opts.After) }
	verdicts := ordered(ctx, names, orDefault(opts.Concurrency, 16), func(ctx context.Context, name string) verdict {
		info, err := s.verifyOne(ctx, name)
		return verdict{info, err}
	})
	return func(yield func(Info, error) bool) {
		var unexplained streak
		for v, err := range verdicts {
			switch {
			case err != nil:
				yield(Info{}, fmt.Errorf("storage: verify: %w", err))
				return
			case isGone(v.err):
				unexplained = 0
				continue // deleted since it was listed
			case v.err != nil && isFatal(ctx, v.err):
				yield(Info{}, v.err)
				return
			}
			if !yield(v.info, v.err) {
				return
			}
			unexplained.follow(v.err)
			if err := unexplained.err("verify", v.err); err != nil {
				yield(Info{}, err)
				return
			}
		}
	}
}

func (s *Store) verifyOne(ctx context.Context, name string) (Info, error) {
	r, err := s.Get(ctx, name)
	if err != nil {
		return Info{Name: name}, err
	}
	defer r.Close()
	if _, err := r.WriteTo(io.Discard); err != nil {
		return Info{Name: name}, err
	}
	return r.Info(), nil
}

// names yields the names of a listing.
func (s *Store) names(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for entry, err := range s.blobs.List(ctx, prefix, after) {
			if !yield(entry.Name, err) || err != nil {
				return
			}
		}
	}
}

func orDefault(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}
