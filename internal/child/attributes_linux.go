package child

import "syscall"

// attributes has the kernel end the child when we die, however we die, so that
// a killed test run leaves no server behind. The child also gets a process
// group of its own: an interrupt typed at the terminal then reaches only us,
// and we stop the server when we no longer need it.
func attributes(c Command) (*syscall.SysProcAttr, error) {
	deathSignal := c.DeathSignal
	if deathSignal == 0 {
		deathSignal = syscall.SIGKILL
	}
	return &syscall.SysProcAttr{
		Pdeathsig:  deathSignal,
		Setpgid:    true,
		Credential: credential(c.User),
	}, nil
}
