package postgres

import (
	"context"
	"fmt"

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
// one chunk of a larger one, come in one round trip. The others are read in pages of up to
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

// getSQL fetches, with the row, as much of the body as one page holds. Of the
// range, $2 is the offset, $3 how many bytes, and $4 the position in an inline body,
// which counts from 1 and in 32 bits. A header that is longer than it may be
// is cut, to be refused before it fills memory.
//
// A chunk is stored uncompressed, so substring reads no more of it than it returns. It is not used
// where it would return all, because that takes the server twice as long.
var getSQL = statement{`
SELECT o.version, o.size, o.chunk_size, octet_length(o.body), substring(o.header FROM 1 FOR 1025),
    CASE WHEN $3::integer = 0 THEN NULL
         WHEN $4::integer = 1 AND octet_length(o.body) <= $3::integer THEN o.body
         WHEN o.body IS NOT NULL THEN substring(o.body FROM $4::integer FOR $3::integer)
         ELSE (SELECT CASE
                   WHEN $2::bigint % o.chunk_size = 0 AND octet_length(c.data) <= $3::integer THEN c.data
                   ELSE substring(c.data FROM ($2::bigint % o.chunk_size + 1)::integer FOR $3::integer)
               END
               FROM @schema@.chunks c WHERE c.version = o.version AND c.seq = $2::bigint / o.chunk_size)
    END
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
}

func (s *Store) getRow(ctx context.Context, escaped string, rng backend.Range) (row gotRow, err error) {
	length := int64(firstPage)
	if rng.Length >= 0 {
		length = min(rng.Length, firstPage)
	}
	// No body in a row reaches this far, and no shift below it overflows.
	inlinePosition := min(rng.Offset, 1<<30) + 1
	_, err = s.do(ctx, s.sql.get, func(rows pgx.Rows) error {
		row = gotRow{}
		for rows.Next() {
			row.found = true
			if err := rows.Scan(&row.id, &row.size, &row.chunkSize, &row.bodySize, &row.header, &row.page); err != nil {
				return err
			}
		}
		return nil
	}, escaped, rng.Offset, length, inlinePosition)
	return row, err
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
