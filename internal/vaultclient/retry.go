package vaultclient

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// The first retry comes after 50 to 100 ms, the second after twice that,
	// and so on: three retries in less than a second, enough for a failover
	// of a connection. Who wants to outlast a restart of Vault calls again.
	firstWait = 100 * time.Millisecond

	// maxWait is the longest wait, in particular the longest that Vault may
	// ask for. If it asks for more, the caller is told at once.
	maxWait = 10 * time.Second
)

// failure is an error with what is to be done about it.
type failure struct {
	err       error
	transient bool          // the same request may succeed in a moment
	after     time.Duration // but not before
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func transient(err error) *failure { return &failure{err: err, transient: true} }

// retry calls try until it succeeds or fails for good, at most so many times.
func (c *Client) retry(ctx context.Context, r Request, try func() error) error {
	for n := 1; ; n++ {
		err := try()
		f, ok := errors.AsType[*failure](err)
		if !ok || !f.transient || f.after > maxWait || r.Once || n >= c.tries {
			return err
		}
		wait := f.after + backoff(n)
		c.log.WarnContext(ctx, "request to Vault failed, trying again",
			"path", r.Path, "try", n, "wait", wait, "error", err)
		if sleep(ctx, wait) != nil {
			return fmt.Errorf("waiting to try again: %w (%v)", ctx.Err(), err)
		}
	}
}

// backoff is the wait after the n-th try. Half of it is random, so that
// clients that failed together do not come back together.
func backoff(n int) time.Duration {
	d := min(firstWait<<min(n-1, 10), maxWait)
	return d/2 + rand.N(d/2)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
