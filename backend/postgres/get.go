package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

const (
	// firstPage is how many bytes of a body come with its header, in one round trip:
	// all of one that is in its row, or what the range selects of one chunk.
	firstPage = 1 << 20

	// pageSize is how many bytes at most are fetched at a time after that, and
	// pagesAhead how many such statements may be in progress for one reader, each on a
	// connection of its own. With one, the server would do nothing between
	// two pages.
	pageSize   = 4 << 20
	pagesAhead = 2

	// maxSize is beyond what 2^31 chunks of 2^30 bytes, which is what a bytea can be,
	// can hold. Sums of smaller numbers do not overflow.
	maxSize = 1 << 62
)

// Get reads an object as [backend.Blobs] says. A body of up to 256 KiB, and a range within
// one chunk of a larger one, come in one round trip, which gets of up to 64 KiB that are
// under way at once may share; in that, a whole body that turns out to be longer
// is left for another round trip. The others are read in pages of up to
// 4 MiB, the next two being fetched while one is consumed; between pages no connection is
// held. A reader whose object was replaced or deleted meanwhile fails with
// ErrConflict when it comes to the next page.
func (s *Store) Get(ctx context.Context, name string, rng backend.Range, version backend.Version) (o *backend.Object, err error) {
	defer annotate(&err, "get", name)
	escaped, err := checkName(ctx, name)
	if err != nil {
		return nil, err
	}
	row, err := s.getRow(ctx, escaped, rng)
	switch {
	case err != nil:
		return nil, err
	case !row.found:
		return nil, atrest.ErrNotFound
	case version != "" && versionOf(row.id) != version:
		return nil, atrest.ErrConflict
	}
	if err := row.check(); err != nil {
		return nil, err
	}
	body, err := s.newReader(ctx, escaped, row, rng)
	if err != nil {
		return nil, err
	}
	return &backend.Object{
		Attrs:  backend.Attrs{Size: row.size, Version: versionOf(row.id)},
		Header: row.header,
		Body:   body,
	}, nil
}

// getColumns fetch, with the row, as much of the body as one page holds. Of the range,
// they are given the offset, how many bytes, and the position in an inline body, which counts
// from 1 and in 32 bits, and a case in which none is fetched. A header that is longer than it
// may be is cut, to be refused before it fills memory.
//
// A chunk is stored uncompressed, so substring reads no more of it than it returns. It is not used
// where it would return all, because that takes the server twice as long.
func getColumns(offset, length, position, none string) string {
	return strings.NewReplacer("@offset@", offset, "@length@", length, "@position@", position, "@none@", none).Replace(`
    o.version, o.size, o.chunk_size, octet_length(o.body), substring(o.header FROM 1 FOR 1025),
    CASE WHEN @length@ = 0 THEN NULL @none@
         WHEN @position@ = 1 AND octet_length(o.body) <= @length@ THEN o.body
         WHEN o.body IS NOT NULL THEN substring(o.body FROM @position@ FOR @length@)
         ELSE (SELECT CASE
                   WHEN @offset@ % o.chunk_size = 0 AND octet_length(c.data) <= @length@ THEN c.data
                   ELSE substring(c.data FROM (@offset@ % o.chunk_size + 1)::integer FOR @length@)
               END
               FROM @schema@.chunks c WHERE c.version = o.version AND c.seq = @offset@ / o.chunk_size)
    END`)
}

var getSQL = statement{`
SELECT ` + getColumns("$2::bigint", "$3::integer", "$4::integer", "") + `
FROM @schema@.objects o WHERE o.name = $1`,
	[]uint32{pgtype.TextOID, pgtype.Int8OID, pgtype.Int4OID, pgtype.Int4OID}, false}

// A gotRow is an object as it was found.
type gotRow struct {
	found     bool
	id        contentID
	size      int64
	chunkSize *int32 // nil: the body is in the row
	bodySize  *int32 // nil: it is not
	header    []byte
	page      []byte // the first of what was selected
	shared    bool   // the page is not there if it is long, see lookup
}

// scan reads what getColumns fetch, and more after it.
func (row *gotRow) scan(rows pgx.Rows, more ...any) error {
	row.found = true
	return rows.Scan(append([]any{&row.id, &row.size, &row.chunkSize, &row.bodySize, &row.header, &row.page}, more...)...)
}

// check looks at what the database says before any of it is used.
func (row *gotRow) check() error {
	switch {
	case len(row.header) > backend.MaxHeader:
		return damaged("the header is too long")
	case row.size < 0 || row.size > maxSize:
		return damaged("the size is impossible")
	case (row.chunkSize == nil) == (row.bodySize == nil):
		return damaged("the body is to be in one place")
	case row.chunkSize != nil && *row.chunkSize <= 0:
		return damaged("the size of chunks is not positive")
	case row.bodySize != nil && row.size != int64(*row.bodySize):
		return damaged("the body is not of the size that was noted")
	case row.bodySize != nil && row.size > firstPage:
		return damaged("the body in the row is too long")
	}
	return nil
}

func damaged(what string) error { return fmt.Errorf("%w: %s", atrest.ErrTampered, what) }

var currentSQL = statement{`SELECT version FROM @schema@.objects WHERE name = $1`, []uint32{pgtype.TextOID}, false}

// currentVersion returns "" if the name is not there.
func (s *Store) currentVersion(ctx context.Context, conn *pgx.Conn, escaped string) (backend.Version, error) {
	var id contentID
	if _, err := s.query(ctx, conn, s.sql.current, into(&id), escaped); err != nil || id == (contentID{}) {
		return "", err
	}
	return versionOf(id), nil
}
