package devpostgres

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/atrest/atrest/internal/child"
)

// private is a directory of mode 0700 that belongs to the user that a server
// runs as, and holds all that it needs.
type private struct {
	path string
	user *child.User // nil: ourselves
}

// newPrivate makes a directory below another, the system's temporary one if
// that is empty.
func newPrivate(below, pattern string) (*private, error) {
	who, err := serverUser()
	if err != nil {
		return nil, err
	}
	if below, err = filepath.Abs(orTemp(below)); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(below, pattern)
	if err != nil {
		return nil, fmt.Errorf("making a directory for the server: %w", err)
	}
	d := &private{path, who}
	if err := giveTo(who, path); err != nil {
		return nil, d.failed(err)
	}
	if err := openPath(who, path); err != nil {
		return nil, d.failed(err)
	}
	return d, nil
}

func orTemp(dir string) string {
	if dir == "" {
		return os.TempDir()
	}
	return dir
}

// failed removes the directory because of an error.
func (d *private) failed(err error) error {
	if removeErr := d.remove(); removeErr != nil {
		return fmt.Errorf("%w; and %w", err, removeErr)
	}
	return err
}

func (d *private) remove() error { return os.RemoveAll(d.path) }

func (d *private) join(name string) string { return filepath.Join(d.path, name) }

// write makes a file that only the server's user can read.
func (d *private) write(name string, text []byte) error {
	if err := os.WriteFile(d.join(name), text, 0o600); err != nil {
		return err
	}
	return giveTo(d.user, d.join(name))
}

// command runs a program in the directory as the server's user. Of our
// environment it sees nothing that tells PostgreSQL's programs what to do.
func (d *private) command(path string, args ...string) child.Command {
	env := []string{"LC_ALL=C", "HOME=" + d.path}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "LC_") && name != "HOME" {
			env = append(env, entry)
		}
	}
	return child.Command{Path: path, Args: args, Env: env, Dir: d.path, User: d.user}
}
