//go:build !unix || aix || illumos || solaris

package disk

import (
	"errors"
	"os"

	"github.com/atrest/atrest"
)

const nonBlock = 0

var errLocked = errors.New("locked by another process")

// flock fails on systems without the call, and so does New. The package still
// compiles there, so that programs can offer the other backends.
func flock(*os.File, bool) error { return atrest.ErrUnsupported }

func funlock(*os.File) error { return atrest.ErrUnsupported }
