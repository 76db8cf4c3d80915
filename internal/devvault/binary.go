package devvault

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	// binaryVariable names the environment variable that chooses the server.
	binaryVariable = "ATREST_TEST_VAULT_BINARY"

	// modulePath is how the repository's root is recognised.
	modulePath = "github.com/atrest/atrest"
)

// ErrNoBinary means that there is no Vault to run. The error that wraps it
// says how to get one.
var ErrNoBinary = errors.New("no Vault server to run")

// executable is a server's program. Our own build prints the port that the
// system gave it; with another, we choose the port.
type executable struct {
	path string
	ours bool
}

// Binary returns the path of the Vault that [Start] would run: the environment
// variable ATREST_TEST_VAULT_BINARY if set, else dev/bin/vault of the
// repository around the working directory. In the variable, a bare name is
// looked up in PATH, and a relative path starts at the repository's root, since
// go test runs each test in a directory of its own. If there is no such
// program, the error is [ErrNoBinary].
func Binary() (string, error) {
	b, err := findBinary("")
	if err != nil {
		return "", fmt.Errorf("devvault: %w", err)
	}
	return b.path, nil
}

func findBinary(option string) (executable, error) {
	if option != "" {
		path, err := exec.LookPath(option)
		if err != nil {
			return executable{}, fmt.Errorf("%w: Options.Binary: %w", ErrNoBinary, err)
		}
		return executable{path: path}, nil
	}
	if name := os.Getenv(binaryVariable); name != "" {
		return binaryFromVariable(name)
	}
	root, err := repositoryRoot()
	if err != nil {
		return executable{}, fmt.Errorf("%w: set %s: %w", ErrNoBinary, binaryVariable, err)
	}
	path := filepath.Join(root, "dev", "bin", "vault")
	if _, err := exec.LookPath(path); err != nil {
		return executable{}, fmt.Errorf("%w: run `make tools` to build %s, or set %s: %w",
			ErrNoBinary, path, binaryVariable, err)
	}
	return executable{path: path, ours: true}, nil
}

func binaryFromVariable(name string) (executable, error) {
	path := name
	if strings.ContainsRune(name, filepath.Separator) && !filepath.IsAbs(name) {
		root, err := repositoryRoot()
		if err != nil {
			return executable{}, fmt.Errorf("%w: %s=%s: %w", ErrNoBinary, binaryVariable, name, err)
		}
		path = filepath.Join(root, name)
	}
	path, err := exec.LookPath(path)
	if err != nil {
		return executable{}, fmt.Errorf("%w: %s: %w", ErrNoBinary, binaryVariable, err)
	}
	return executable{path: path}, nil
}

// repositoryRoot walks up from the working directory to the go.mod of this
// module. The repository holds other modules; theirs are passed by.
func repositoryRoot() (string, error) {
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
