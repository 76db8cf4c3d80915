//go:build !linux

package devvault

import "syscall"

// childAttributes changes nothing: only Linux can tie a child to the life of
// its parent. The child stays in our process group, so that an interrupt typed
// at the terminal ends it along with us.
func childAttributes() *syscall.SysProcAttr { return nil }
