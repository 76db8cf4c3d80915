package devvault

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/atrest/atrest/internal/child"
)

// binaryVariable names the environment variable that chooses the server.
const binaryVariable = "ATREST_TEST_VAULT_BINARY"

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
	root, err := child.RepositoryRoot()
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
		root, err := child.RepositoryRoot()
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
