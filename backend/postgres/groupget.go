package postgres

import (
	"context"
	"fmt"
	"math"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/coalesce"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// groupPage is the most of a body that a statement fetches for one of the gets that share
// it, as those that are under way at once do. What is longer, and would keep the
// others waiting, is fetched by itself. With groupSize that bounds it to 8 MiB.
const groupPage = 64 << 10

// A lookup is what a get asks for: of the body, length bytes from offset. position is
// that of the offset in an inline body, for SQL.
type lookup struct {
	name     string // escaped
	offset   int64
	length   int32
	position int32
}

func newLookup(escaped string, rng backend.Range) lookup {
	length := int64(firstPage)
	if rng.Length >= 0 {
		length = min(rng.Length, firstPage)
	}
	// No body in a row reaches this far, and no shift below it overflows.
	return lookup{escaped, rng.Offset, int32(length), int32(min(rng.Offset, 1<<30) + 1)}
}

// long tells whether more than groupPage is asked for of a body of that size.
func (l *lookup) long(size int64) bool { return min(int64(l.length), size-l.offset) > groupPage }

type getGroup = coalesce.Group[lookup, gotRow]

// newGetGroup returns what gathers gets. That the pool bounds them is as with puts.
func (s *Store) newGetGroup() *getGroup {
	return coalesce.New(coalesce.Config[lookup, gotRow]{
		Send: s.getTogether, Alone: s.getAlone,
		DropIn: func(lookup) {}, DropOut: func(gotRow) {},
		MaxBatch: groupSize, MaxInFlight: math.MaxInt, MaxYoung: groupsAtOnce, MinBeside: getsBeside,
		Patience: groupPatience, Near: groupNear,
	})
}

// getRow fetches an object's row, in a statement that it may share with others unless it
// is known to ask for much. That it does may only turn out then.
func (s *Store) getRow(ctx context.Context, escaped string, rng backend.Range) (gotRow, error) {
	l := newLookup(escaped, rng)
	if rng.Length > groupPage {
		return s.getAlone(ctx, l)
	}
	row, err := s.gets.Do(ctx, l)
	if err == errAlone || err == nil && row.shared && l.long(row.size) {
		return s.getAlone(ctx, l)
	}
	return row, err
}

func (s *Store) getAlone(ctx context.Context, l lookup) (row gotRow, err error) {
	_, err = s.do(ctx, s.sql.get, func(rows pgx.Rows) error {
		row = gotRow{}
		for rows.Next() {
			if err := row.scan(rows); err != nil {
				return err
			}
		}
		return nil
	}, l.name, l.offset, l.length, l.position)
	return row, err
}

// getTogether fetches rows in one statement. If the server refuses it, each get is to
// go by itself.
func (s *Store) getTogether(ctx context.Context, lookups []lookup) ([]gotRow, []error) {
	n := len(lookups)
	names, offsets, lengths, positions := make([]string, n), make([]int64, n), make([]int32, n), make([]int32, n)
	for i, l := range lookups {
		names[i], offsets[i], lengths[i], positions[i] = l.name, l.offset, l.length, l.position
	}
	got := make([]gotRow, n)
	_, err := s.do(ctx, s.sql.getBatch, func(rows pgx.Rows) error {
		clear(got)
		return readPlaces(rows, got)
	}, names, offsets, lengths, positions)
	if isRefused(err) {
		err = errAlone
	}
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return got, errs
}

// readPlaces reads rows to the places that they tell, which count from 1.
func readPlaces(rows pgx.Rows, got []gotRow) error {
	for rows.Next() {
		row := gotRow{shared: true}
		var place int
		if err := row.scan(rows, &place); err != nil {
			return err
		}
		if place < 1 || place > len(got) {
			return fmt.Errorf("the server tells of get %d of %d", place, len(got))
		}
		got[place-1] = row
	}
	return nil
}

// getBatchSQL looks up each name by itself, in the index, whatever the planner thinks of so many.
//
// The arrays stand in queries of their own for the planner not to look into them. In
// unnest($1) it sees how many elements there are if it plans for the values at hand, and
// supposes 10 if it plans for any. With fewer, a plan for the values would look
// the cheaper one forever, and one would be made anew for each execution.
var getBatchSQL = statement{`
SELECT ` + getColumns("q.start", "q.length", "q.position",
	fmt.Sprintf(`WHEN least(q.length::bigint, o.size - q.start) > %d THEN NULL`, groupPage)) + `, q.place
FROM unnest((SELECT $1::text[]), (SELECT $2::bigint[]), (SELECT $3::integer[]), (SELECT $4::integer[]))
        WITH ORDINALITY AS q (name, start, length, position, place),
    LATERAL (SELECT * FROM @schema@.objects WHERE name = q.name COLLATE "C" LIMIT 1) AS o`,
	[]uint32{pgtype.TextArrayOID, pgtype.Int8ArrayOID, pgtype.Int4ArrayOID, pgtype.Int4ArrayOID}, false}
