//go:build unix

package beside

import (
	"os"
	"syscall"
)

// forwarded lists the signals that are caught and passed on to the command.
func forwarded() []os.Signal {
	return []os.Signal{
		syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM,
		syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2,
	}
}

// fromTerminal reports whether a signal has reached the command without us. An
// interrupt or a quit typed at our terminal goes to every process in the
// foreground, the command included. Passed on it would arrive twice, and a
// second interrupt makes many programs give up cleaning up. Go does not say who
// sent a signal, so having a terminal at all decides.
func fromTerminal(sig os.Signal) bool {
	if sig != syscall.SIGINT && sig != syscall.SIGQUIT {
		return false
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false // no terminal: someone sent the signal to us alone
	}
	tty.Close() // opened only to see whether it can be
	return true
}

// endedBySignal returns the signal that ended a process, if one did.
func endedBySignal(state *os.ProcessState) (int, bool) {
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return 0, false
	}
	return int(status.Signal()), true
}
