package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

var setHeaderSQL = statement{`
UPDATE @schema@.objects SET header = $4, key_version = $5 WHERE name = $1 AND version = $2 AND header = $3`,
	[]uint32{pgtype.TextOID, pgtype.UUIDOID, pgtype.ByteaOID, pgtype.ByteaOID, pgtype.Int4OID}, true}

// SetHeader implements [backend.Blobs] with one statement. A body that is not in the
// main part of the row, which is to say any of more than some 2 KB, is not written again.
func (s *Store) SetHeader(ctx context.Context, u backend.HeaderUpdate) (err error) {
	defer annotate(&err, "set header of", u.Name)
	escaped, err := checkChange(ctx, u.Name, u.New, backend.Condition{})
	if err != nil {
		return err
	}
	affected, err := s.do(ctx, s.sql.setHeader, noRows, escaped, contentIDOf(u.Version), notNull(u.Old), notNull(u.New), keyVersion(u.New))
	if err == nil && affected == 0 {
		err = atrest.ErrConflict
	}
	return err
}

// batchSize is how many headers one statement replaces at most. With names and
// headers of the greatest length that is 6 MB of parameters.
const batchSize = 2048

// SetHeaders implements [backend.HeaderBatcher] with one statement for each 2,048
// updates. Updates of one name go into different statements. ctx ending in the midst
// leaves the statements done that were done.
func (s *Store) SetHeaders(ctx context.Context, updates []backend.HeaderUpdate) []error {
	errs := make([]error, len(updates))
	todo := make([]namedUpdate, 0, len(updates))
	for i, u := range updates {
		escaped, err := checkChange(ctx, u.Name, u.New, backend.Condition{})
		errs[i] = err
		if err == nil {
			todo = append(todo, namedUpdate{escaped, i})
		}
	}
	// In the order of names, for equal ones to stand together.
	slices.SortStableFunc(todo, func(a, b namedUpdate) int { return strings.Compare(a.escaped, b.escaped) })
	for len(todo) > 0 {
		var batch []namedUpdate
		batch, todo = takeBatch(todo)
		s.setBatch(ctx, updates, batch, errs)
	}
	for i := range errs {
		annotate(&errs[i], "set header of", updates[i].Name)
	}
	return errs
}

// A namedUpdate is the update at an index, and its escaped name.
type namedUpdate struct {
	escaped string
	index   int
}

// takeBatch splits off updates of different names, as many as fit into a
// statement. It leaves the order as it is.
func takeBatch(todo []namedUpdate) (batch, rest []namedUpdate) {
	for i, u := range todo {
		if len(batch) == batchSize {
			return batch, append(rest, todo[i:]...)
		}
		if len(batch) > 0 && batch[len(batch)-1].escaped == u.escaped {
			rest = append(rest, u)
			continue
		}
		batch = append(batch, u)
	}
	return batch, rest
}

// setHeadersSQL locks the rows in the order of their names before it changes any, so
// that two batches with names in common never wait for each other in a circle.
// What it returns are the places of the updates that were made.
var setHeadersSQL = statement{`
WITH u AS (
    SELECT * FROM unnest($1::text[], $2::uuid[], $3::bytea[], $4::bytea[], $5::integer[])
        WITH ORDINALITY AS u (name, version, old, new, key_version, place)
), locked AS (
    SELECT o.name, u.version, u.old, u.new, u.key_version, u.place
    FROM @schema@.objects o JOIN u ON o.name = u.name COLLATE "C"
    WHERE o.version = u.version AND o.header = u.old
    ORDER BY o.name FOR NO KEY UPDATE OF o
)
UPDATE @schema@.objects o SET header = locked.new, key_version = locked.key_version FROM locked
WHERE o.name = locked.name AND o.version = locked.version AND o.header = locked.old
RETURNING locked.place`,
	[]uint32{pgtype.TextArrayOID, pgtype.UUIDArrayOID, pgtype.ByteaArrayOID, pgtype.ByteaArrayOID, pgtype.Int4ArrayOID}, true}

// setBatch replaces headers of different names and notes how each fared.
func (s *Store) setBatch(ctx context.Context, updates []backend.HeaderUpdate, batch []namedUpdate, errs []error) {
	names, versions := make([]string, len(batch)), make([]contentID, len(batch))
	before, after := make([][]byte, len(batch)), make([][]byte, len(batch))
	keyVersions := make([]*int32, len(batch))
	for i, b := range batch {
		u := updates[b.index]
		names[i], versions[i], before[i], after[i] = b.escaped, contentIDOf(u.Version), notNull(u.Old), notNull(u.New)
		keyVersions[i] = keyVersion(u.New)
	}
	var done []bool
	_, err := s.do(ctx, s.sql.setHeaders, func(rows pgx.Rows) error {
		done = make([]bool, len(batch))
		return markPlaces(rows, done)
	}, names, versions, before, after, keyVersions)
	for i, b := range batch {
		switch {
		case err != nil:
			errs[b.index] = err
		case !done[i]:
			errs[b.index] = atrest.ErrConflict
		}
	}
}

// markPlaces sets what stands at the places that the rows tell, which count from 1.
func markPlaces(rows pgx.Rows, done []bool) error {
	for rows.Next() {
		var place int
		if err := rows.Scan(&place); err != nil {
			return err
		}
		if place < 1 || place > len(done) {
			return fmt.Errorf("the server tells of update %d of %d", place, len(done))
		}
		done[place-1] = true
	}
	return nil
}
