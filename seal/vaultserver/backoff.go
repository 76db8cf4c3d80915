package vaultserver

import (
	"math/rand/v2"
	"time"
)

const (
	backoffMin = 200 * time.Millisecond
	backoffMax = 30 * time.Second

	// A process that has lived for so long was sound, and what ended it is new.
	backoffReset = time.Minute
)

// backoff says how long to wait before the process is started again. The zero value
// begins with the shortest wait.
type backoff struct{ last time.Duration }

// next doubles the wait up to the longest. Up to half of it is left off at random, so
// that the nodes of a cluster that have lost their database do not all come back to it
// at once.
func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, backoffMin), backoffMax)
	return b.last - rand.N(b.last/2)
}

// ended takes note of how long a process has lived.
func (b *backoff) ended(life time.Duration) {
	if life >= backoffReset {
		b.last = 0
	}
}
