//go:build !unix || aix || illumos || solaris

package seal

import (
	"os"
	"runtime"
)

// lockDir takes no lock. It reports whether leftovers can be told without: Windows
// removes no file that is open, so there a writer's file is safe from the others.
func lockDir(*os.File) bool { return runtime.GOOS == "windows" }
