package devvault

import "syscall"

// childAttributes has the kernel kill the child when we die, however we die,
// so that a killed test run leaves no server behind. The child also gets a
// process group of its own: an interrupt typed at the terminal then reaches
// only us, and we stop the server when we no longer need it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
