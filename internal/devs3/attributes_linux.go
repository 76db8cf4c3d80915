package devs3

import "syscall"

// hasUserAttributes reports whether files in a directory can have extended
// attributes of users, xattr(7). A tmpfs has had them since Linux 6.6 only.
func hasUserAttributes(dir string) bool {
	const name = "user.atrest-devs3"
	if err := syscall.Setxattr(dir, name, []byte("1"), 0); err != nil {
		return false
	}
	_ = syscall.Removexattr(dir, name) // left behind, it harms nobody
	return true
}
