//go:build !unix

package vaultserver

import "io/fs"

// hasModes says that the mode of a file tells who may read it.
const hasModes = false

func ownedByUs(fs.FileInfo) bool { return true } // nothing here tells
