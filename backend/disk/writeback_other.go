//go:build !linux

package disk

import "os"

// beginWriteback does nothing: only Linux has sync_file_range.
func beginWriteback(*os.File, int64, int64) {}
