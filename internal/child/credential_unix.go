//go:build unix

package child

import "syscall"

func credential(user *User) *syscall.Credential {
	if user == nil {
		return nil
	}
	// Groups is left empty, and so our own additional groups are dropped.
	return &syscall.Credential{Uid: user.UID, Gid: user.GID}
}
