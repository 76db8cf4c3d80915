//go:build !unix

package beside

import (
	"os"
	"syscall"
)

func forwarded() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

func fromTerminal(os.Signal) bool { return false }

// endedBySignal is always false: there are no signals here to end a process.
func endedBySignal(*os.ProcessState) (int, bool) { return 0, false }
