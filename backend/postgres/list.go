package postgres

import (
	"context"
	"fmt"
	"iter"

	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// listSQL returns a page of the names that begin with $1, sort after $2 and before
// $3. The limit is part of the text for the planner to know it: an index scan that soon
// ends is what is wanted, whatever the table's size.
var listSQL = statement{fmt.Sprintf(`
SELECT name, version, size, substring(header FROM 1 FOR 1025) FROM @schema@.objects
WHERE name >= $1 AND name > $2 AND name < $3 ORDER BY name LIMIT %d`, listPage),
	[]uint32{pgtype.TextOID, pgtype.TextOID, pgtype.TextOID}, false}

// listPage is how many entries are fetched and held at a time: with headers of the
// greatest length, 2 MB.
const listPage = 1000

// List implements [backend.Blobs]. It holds no connection while the consumer has
// an entry. Rows that no store has made are logged and passed over.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
	return func(yield func(backend.Entry, error) bool) {
		fail := func(err error) {
			annotate(&err, "list", prefix)
			yield(backend.Entry{}, err)
		}
		begin, err := backend.EscapePrefix(prefix)
		if err != nil {
			fail(err)
			return
		}
		cursor, err := backend.EscapePrefix(after)
		if err != nil {
			fail(err)
			return
		}
		for more := true; more; {
			page, err := s.listPage(ctx, begin, cursor)
			if err != nil {
				fail(err)
				return
			}
			for _, row := range page {
				if err := ctx.Err(); err != nil {
					fail(err)
					return
				}
				if entry, ok := s.entry(ctx, row); ok && !yield(entry, nil) {
					return
				}
				cursor = row.name
			}
			more = len(page) == listPage
		}
	}
}

// A listedRow is an object as it was found.
type listedRow struct {
	name   string // escaped
	id     contentID
	size   int64
	header []byte
}

func (s *Store) listPage(ctx context.Context, begin, cursor string) (page []listedRow, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	_, err = s.do(ctx, s.sql.list, func(rows pgx.Rows) error {
		page = page[:0]
		for rows.Next() {
			var row listedRow
			if err := rows.Scan(&row.name, &row.id, &row.size, &row.header); err != nil {
				return err
			}
			page = append(page, row)
		}
		return nil
	}, begin, cursor, endOf(begin))
	return page, err
}

// endOf returns the first string after all that begin with the prefix. Escaped names
// are ASCII, and below "~".
func endOf(prefix string) string {
	if prefix == "" {
		return "~"
	}
	last := len(prefix) - 1
	return prefix[:last] + string(rune(prefix[last]+1))
}

// entry makes an entry of a row. One whose header can't be that of any object
// has no header and no version, so that it hides no other and a Get tells what is wrong.
func (s *Store) entry(ctx context.Context, row listedRow) (backend.Entry, bool) {
	name, err := backend.Unescape(row.name)
	if err != nil {
		s.log.WarnContext(ctx, "postgres: a row that is no object was passed over", "schema", s.schema, "name", row.name, "error", err)
		return backend.Entry{}, false
	}
	entry := backend.Entry{Name: name, Attrs: backend.Attrs{Size: row.size}}
	if len(row.header) <= backend.MaxHeader {
		entry.Version, entry.Header = versionOf(row.id), row.header
	}
	return entry, true
}
