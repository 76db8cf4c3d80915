//go:build unix && !linux

package child

import "syscall"

// attributes changes no more than the user: only Linux can tie a child to the
// life of its parent. The child stays in our process group, so that an
// interrupt typed at the terminal ends it along with us.
func attributes(c Command) (*syscall.SysProcAttr, error) {
	return &syscall.SysProcAttr{Credential: credential(c.User)}, nil
}
