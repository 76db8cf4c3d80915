//go:build unix

package devvault

import "syscall"

// pause stops the process. The signal only asks: a thread that runs on another
// processor can still finish what it was doing, so wait until all have stopped,
// or a test sees one more answer from a server that it has paused.
func (p *process) pause() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return p.awaitPaused()
}

func (p *process) resume() error { return p.signal(syscall.SIGCONT) }
