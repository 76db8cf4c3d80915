//go:build unix && !linux

package devvault

import "time"

// awaitPaused gives the threads time to stop. There is no portable way to see
// that they have; on these systems it takes far less than this.
func (p *process) awaitPaused() error {
	time.Sleep(50 * time.Millisecond)
	return nil
}
