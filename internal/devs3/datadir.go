package devs3

import (
	"fmt"
	"os"
	"path/filepath"
)

// makeDataDir makes the directories that the server needs, in the directory of
// the caller or, if that is empty, in our own.
func (s *Server) makeDataDir(dir string) error {
	if dir == "" {
		dir = filepath.Join(s.tempDir, "data")
	}
	// The server is told the path, and does not share our idea of ".".
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	s.dataDir = dir
	// What lies beside the objects would count as a bucket among them.
	for _, dir := range []string{s.objectDir(), s.sidecarDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
	}
	return nil
}

// objectDir is where the server keeps buckets.
func (s *Server) objectDir() string { return filepath.Join(s.dataDir, "objects") }

// sidecarDir is where VersityGW keeps metadata if the file system cannot.
func (s *Server) sidecarDir() string { return filepath.Join(s.dataDir, "metadata") }
