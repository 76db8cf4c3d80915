package child

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// modulePath is how the repository's root is recognised.
const modulePath = "github.com/atrest/atrest"

// RepositoryRoot walks up from the working directory to the go.mod of this
// module. The repository holds other modules; theirs are passed by. The servers
// that the repository builds are in dev/bin below it.
func RepositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		ours, err := isOurModule(filepath.Join(dir, "go.mod"))
		if err != nil {
			return "", err
		}
		if ours {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("the working directory is outside the repository of %s", modulePath)
		}
		dir = parent
	}
}

// isOurModule reports whether a file exists and is the go.mod of this module.
func isOurModule(goMod string) (bool, error) {
	file, err := os.Open(goMod)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close() // read only: nothing to lose
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if path, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "module "); ok {
			return strings.Trim(strings.TrimSpace(path), `"`) == modulePath, nil
		}
	}
	return false, lines.Err()
}
