package postgres

import (
	"context"
	"errors"
	"testing"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/backendtest"
	"github.com/jackc/pgx/v5"
)

func TestConformance(t *testing.T) {
	backendtest.Run(t, conformance(server.URL()))
}

// TestConformanceThroughBouncer is the same behind a PgBouncer in transaction mode,
// with fewer connections to the server than there are callers.
func TestConformanceThroughBouncer(t *testing.T) {
	bouncer, err := server.StartBouncer(t.Context())
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("PgBouncer is NOT tested:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := bouncer.Stop(); err != nil {
			t.Error(err)
		}
	}()
	cfg := conformance(bouncer.URL() + "&default_query_exec_mode=exec")
	cfg.Slow = true
	cfg.ModelRuns = 20
	backendtest.Run(t, cfg)
}

func conformance(url string) backendtest.Config {
	return backendtest.Config{
		// Three pages, and a chunk or two in the buffers of pgx for each statement. That is more
		// than the suite's body, so TestMemory has a larger one.
		HeapLimit: 40 << 20,
		Open:      func(t *testing.T) backend.Blobs { return newStore(t, newPool(t, url)) },
		Reopen: func(t *testing.T, b backend.Blobs) backend.Blobs {
			return openStore(t, Config{Pool: newPool(t, url), Schema: b.(*Store).schema})
		},
		Residue: func(t *testing.T, b backend.Blobs) []string { return residue(t, b.(*Store)) },
	}
}

// residue lists the content versions of which there are chunks but no object.
func residue(t testing.TB, s *Store) []string {
	t.Helper()
	rows, err := s.pool.Query(context.Background(), inSchema(s.schema, `
		SELECT c.version::text || ': ' || count(*) || ' chunks' FROM @schema@.chunks c
		WHERE NOT EXISTS (SELECT FROM @schema@.objects o WHERE o.version = c.version AND o.chunk_size IS NOT NULL)
		GROUP BY c.version`), pgx.QueryExecModeExec)
	if err != nil {
		t.Fatal(err)
	}
	left, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return left
}
