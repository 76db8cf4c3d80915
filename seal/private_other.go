//go:build !unix

package seal

import (
	"io/fs"
	"os"
)

const nonBlock = 0

// hasModes is false where modes and owners are made up by Go from something
// else, or say nothing. There it can't be checked who may read a file.
const hasModes = false

func trustedOwner(fs.FileInfo) bool { return true }

// syncDir does nothing: Windows syncs no directories, and keeps a journal.
func syncDir(*os.File) error { return nil }
