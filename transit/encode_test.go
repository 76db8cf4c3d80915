package transit

import (
	"encoding/json"
	"strings"
	"testing"
)

// The buffer holds data keys: were it to grow, a copy would stay behind.
func TestEncodeBatchDoesNotGrow(t *testing.T) {
	items := make([]item, maxBatch)
	for i := range items {
		items[i] = item{secret: make([]byte, maxDataKey), context: make([]byte, maxContext)}
	}
	b := encodeBatch(encryptOp, strings.Repeat("n", 13), items)
	var size = len(encryptOp.head) + 2
	size += maxBatch * (128 + 684 + 1368)
	if cap(b) > size+size/8 || len(b) > 3<<20 { // allocation classes round up
		t.Errorf("%d bytes in %d, planned %d", len(b), cap(b), size)
	}
	if !json.Valid(b) {
		t.Error("not JSON")
	}
}
