package postgres

import (
	"context"
	"fmt"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

var (
	deleteSQL = statement{`DELETE FROM @schema@.objects WHERE name = $1`, []uint32{pgtype.TextOID}, true}

	// Both parts see one snapshot, but the deletion looks again at a row for which it has
	// had to wait.
	deleteIfVersionSQL = statement{`
WITH deleted AS (
    DELETE FROM @schema@.objects WHERE name = $1 AND version = $2 RETURNING 1
)
SELECT (SELECT count(*) FROM deleted), (SELECT version FROM @schema@.objects WHERE name = $1)`,
		[]uint32{pgtype.TextOID, pgtype.UUIDOID}, true}
)

// Delete implements [backend.Blobs] with one statement.
func (s *Store) Delete(ctx context.Context, name string, cond backend.Condition) (err error) {
	defer annotate(&err, "delete", name)
	escaped, err := checkChange(ctx, name, nil, cond)
	if err != nil {
		return err
	}
	switch {
	case cond.IfAbsent:
		return fmt.Errorf("%w: a deletion if absent", atrest.ErrUnsupported)
	case cond.IfVersion != "":
		return s.deleteVersion(ctx, escaped, contentIDOf(cond.IfVersion))
	}
	_, err = s.do(ctx, s.sql.delete, noRows, escaped)
	return err
}

// deleteVersion deletes an object of that version. One that had it when the statement
// began and yet was not deleted was replaced or deleted by somebody else in
// that moment. Which of the two, another look tells, since a version that is gone does
// not come back. One that is still there then is kept by something in the database.
func (s *Store) deleteVersion(ctx context.Context, escaped string, id contentID) error {
	for range tries {
		var deleted int64
		var found *contentID
		_, err := s.do(ctx, s.sql.deleteIfVersion, func(rows pgx.Rows) error {
			found = nil
			return into(&deleted, &found)(rows)
		}, escaped, id)
		switch {
		case err != nil:
			return err
		case deleted > 0 || found == nil:
			return nil
		case *found != id:
			return atrest.ErrConflict
		}
	}
	return fmt.Errorf("%w: the row stays: a trigger, a rule or a policy of the table objects that is not ours keeps it", atrest.ErrPermission)
}
