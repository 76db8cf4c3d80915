package devpostgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

const (
	// binaryVariable names the environment variable that chooses the
	// directory of PostgreSQL's programs.
	binaryVariable = "ATREST_TEST_POSTGRES_BIN"

	// distributed is where Debian and its like keep the programs of each
	// version, out of PATH.
	distributed = "/usr/lib/postgresql/*/bin"
)

// ErrNoBinary means that there is no PostgreSQL, or no PgBouncer, to run. The
// error that wraps it says how to get one.
var ErrNoBinary = errors.New("no program to run")

// programs finds the directory of initdb and postgres: that of the variable if
// set, else the one in PATH, else the newest version of those installed.
func programs() (dir string, err error) {
	if dir := os.Getenv(binaryVariable); dir != "" {
		if err := hasPrograms(dir); err != nil {
			return "", fmt.Errorf("%w: %s: %w", ErrNoBinary, binaryVariable, err)
		}
		return filepath.Abs(dir)
	}
	if path, err := exec.LookPath("postgres"); err == nil && hasPrograms(filepath.Dir(path)) == nil {
		return filepath.Abs(filepath.Dir(path))
	}
	dirs, err := filepath.Glob(distributed)
	if err != nil {
		return "", err
	}
	slices.SortFunc(dirs, func(a, b string) int { return versionOf(b) - versionOf(a) })
	for _, dir := range dirs {
		if hasPrograms(dir) == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%w: PostgreSQL is neither in PATH nor in %s: run `make tools` to install it, "+
		"or set %s to the directory of its programs, or %s to the URL of a server that is running",
		ErrNoBinary, distributed, binaryVariable, urlVariable)
}

func hasPrograms(dir string) error {
	for _, name := range []string{"initdb", "postgres"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// versionOf is the version in a directory's path, 0 if there is none: 9.6
// counts as 9.
func versionOf(dir string) int {
	n, _ := strconv.Atoi(regexp.MustCompile(`[0-9]+`).FindString(dir)) // no number: 0
	return n
}

// majorVersion asks the server's program for its version.
func majorVersion(ctx context.Context, dir string) (int, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("asking PostgreSQL for its version: %w", err)
	}
	n := versionOf(string(out))
	// DROP DATABASE ... WITH (FORCE) is of version 13.
	if n < 13 {
		return 0, fmt.Errorf("%q in %s is too old: PostgreSQL 13 or newer is needed", out, dir)
	}
	return n, nil
}

// bouncerProgram finds PgBouncer, in PATH or where Debian and its like install
// it, which is in the PATH of root only.
func bouncerProgram() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: PgBouncer is neither in PATH nor in /usr/sbin: run `make tools` to install it", ErrNoBinary)
}
