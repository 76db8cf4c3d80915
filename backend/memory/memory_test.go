package memory

import (
	"fmt"
	"testing"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/backendtest"
)

func TestConformance(t *testing.T) {
	backendtest.Run(t, backendtest.Config{
		Open:      func(*testing.T) backend.Blobs { return New() },
		Residue:   residue,
		HeapLimit: 24 << 20, // the body itself is on the heap
		ModelRuns: 300,
	})
}

// residue compares what the map and the order know.
func residue(_ *testing.T, b backend.Blobs) []string {
	s := b.(*Store)
	s.mu.RLock()
	defer s.mu.RUnlock()
	var left []string
	for _, name := range s.names {
		if s.objects[name] == nil {
			left = append(left, name)
		}
	}
	if len(s.names) != len(s.objects) {
		left = append(left, fmt.Sprintf("%d names of %d objects", len(s.names), len(s.objects)))
	}
	return left
}
