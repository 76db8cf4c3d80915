package s3

import (
	"context"
	"hash/fnv"
	"time"
)

// stripes is how many locks all names share.
const stripes = 256

// finalTimeout bounds a request that is waited for although its caller has gone.
const finalTimeout = 15 * time.Minute

// A stripe is a lock that can be waited for until a context ends: whoever has
// taken its token holds it.
type stripe chan struct{}

func newStripe() stripe {
	s := make(stripe, 1)
	s <- struct{}{}
	return s
}

func (s stripe) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s stripe) unlock() { s <- struct{}{} }

// exclusively runs f while no other change of key is under way in this Store.
//
// When ctx ends, it returns at once, and f goes on with its request until that is
// answered, under the lock: a request can't be called back, and one that comes to
// be carried out after the lock was released could fall into the next change.
func (s *Store) exclusively(ctx context.Context, key string, f func(ctx context.Context) error) error {
	h := fnv.New32a()
	h.Write([]byte(key)) // never fails
	lock := s.stripes[h.Sum32()%stripes]
	if err := lock.lock(ctx); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		defer lock.unlock()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalTimeout)
		defer cancel()
		done <- f(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
