package devs3

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/atrest/atrest/internal/child"
)

// Kind is a kind of S3 server.
type Kind string

// The kinds of servers. They differ in what a client of S3 stumbles over.
const (
	// MinIO is MinIO of April 2021, which ignores conditions on writes.
	MinIO Kind = "minio"

	// VersityGW is VersityGW over a directory. It honours conditions on
	// puts, completions of multipart uploads and deletes, and keeps each
	// object in a file of its name.
	VersityGW Kind = "versitygw"

	// External is the server that the environment names: the URL
	// ATREST_TEST_S3_ENDPOINT, and AWS_ACCESS_KEY_ID,
	// AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and AWS_REGION as
	// everywhere. If ATREST_TEST_S3_BUCKET is set, all tests share that
	// bucket, else each makes buckets, which stay there. Nothing is
	// started and nothing stopped.
	External Kind = "external"
)

// Kinds lists the servers to test with: [External] alone if the environment
// names a server, else the repository's own.
func Kinds() []Kind {
	if os.Getenv(endpointVariable) != "" {
		return []Kind{External}
	}
	return []Kind{MinIO, VersityGW}
}

// ErrNoBinary means that a server is not built. The error that wraps it says
// how to build it.
var ErrNoBinary = errors.New("no S3 server to run")

// findBinary is where the repository's build of a server is.
func findBinary(k Kind) (string, error) {
	root, err := child.RepositoryRoot()
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoBinary, err)
	}
	path := filepath.Join(root, "dev", "bin", string(k))
	if _, err := exec.LookPath(path); err != nil {
		return "", fmt.Errorf("%w: run `make tools` to build %s: %w", ErrNoBinary, path, err)
	}
	return path, nil
}
