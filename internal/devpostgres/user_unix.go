//go:build unix

package devpostgres

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/atrest/atrest/internal/child"
)

// serverUser is as whom the servers run: ourselves, unless we are root, whom
// they refuse.
func serverUser() (*child.User, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", u.Username, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", u.Username, err)
	}
	return &child.User{UID: uint32(uid), GID: uint32(gid)}, nil
}

// giveTo makes the user the owner of a file or a directory of ours.
func giveTo(owner *child.User, path string) error {
	if owner == nil {
		return nil
	}
	return os.Chown(path, int(owner.UID), int(owner.GID))
}

// openPath makes sure that the user can pass through the directories above a
// path. Go makes the directories of a test with mode 0700; those below the
// system's temporary directory get search permission, which shows nobody what
// is in them. Others are left alone, and are an error.
func openPath(who *child.User, path string) error {
	if who == nil {
		return nil
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 != 0 {
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid == who.UID {
			continue
		}
		if !isTemporary(dir) {
			return fmt.Errorf("the server, which cannot run as root, cannot reach %s because of the mode of %s: set TMPDIR to another directory", path, dir)
		}
		if err := os.Chmod(dir, info.Mode().Perm()|0o001); err != nil {
			return err
		}
	}
	return nil
}

// isTemporary reports whether a directory lies below one for temporary files.
func isTemporary(dir string) bool {
	for _, root := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if strings.HasPrefix(dir, filepath.Clean(root)+"/") {
			return true
		}
	}
	return false
}
