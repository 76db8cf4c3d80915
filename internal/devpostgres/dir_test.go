package devpostgres

import (
	"errors"
	"testing"

	"github.com/atrest/atrest/internal/tinyfs"
	"github.com/jackc/pgx/v5/pgconn"
)

// TestDirOfSmallFileSystem fills a server's disk. It can go on when there is
// room again.
func TestDirOfSmallFileSystem(t *testing.T) {
	t.Parallel()
	s := StartForTest(t, Options{Dir: tinyfs.Mount(t, 128<<20)})
	conn := connect(t, s.URL())
	// Were it logged, the log could be the first to find the disk full, and
	// then PostgreSQL goes down.
	execSQL(t, conn, "CREATE UNLOGGED TABLE filler (x text)")
	_, err := conn.Exec(t.Context(), "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 200000)")
	if full, ok := errors.AsType[*pgconn.PgError](err); !ok || full.Code != "53100" { // disk_full
		t.Fatalf("error = %v, want disk_full", err)
	}
	execSQL(t, conn, "DROP TABLE filler")
	execSQL(t, conn, "CREATE TABLE again AS SELECT 1")
}
