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

// stripeOf returns which stripe is that of a key.
func stripeOf(key string) int {
	h := fnv.New32a()
	h.Write([]byte(key)) // never fails
	return int(h.Sum32() % stripes)
}

// lockCopy waits until no CopyObject of this Store is under way from or to either
// key, and keeps others from beginning until unlock is called.
//
// MinIO locks the source of a copy and then its destination, so that two copies in
// opposite directions wait for each other, for five minutes. These locks are taken in
// one order. They are always the last ones taken.
func (s *Store) lockCopy(ctx context.Context, from, to string) (unlock func(), err error) {
	first, second := stripeOf(from), stripeOf(to)
	if first > second {
		first, second = second, first
	}
	if err := s.copies[first].lock(ctx); err != nil {
		return nil, err
	}
	if first == second {
		return s.copies[first].unlock, nil
	}
	if err := s.copies[second].lock(ctx); err != nil {
		s.copies[first].unlock()
		return nil, err
	}
	return func() { s.copies[second].unlock(); s.copies[first].unlock() }, nil
}

// exclusively runs f while no other change of key is under way in this Store.
//
// When ctx ends, it returns at once, and f goes on with its request until that is
// answered, under the lock: a request can't be called back, and one that comes to
// be carried out after the lock was released could fall into the next change.
func (s *Store) exclusively(ctx context.Context, key string, f func(ctx context.Context) error) error {
	lock := s.stripes[stripeOf(key)]
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
