package memory

import (
	"testing"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/backendtest"
)

func TestRecordsConformance(t *testing.T) {
	backendtest.RunRecords(t, backendtest.RecordsConfig{
		Open: func(*testing.T) backend.Records { return NewRecords() },
	})
}
