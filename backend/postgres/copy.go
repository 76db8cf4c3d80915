package postgres

import (
	"context"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// Copy implements [backend.Blobs] with one statement, within the server. The
// source is looked at when the statement begins; who replaces it after that does not
// affect the copy. A lost answer it takes as Put does.
func (s *Store) Copy(ctx context.Context, dst, src string, srcVersion backend.Version, header []byte, cond backend.Condition) (v backend.Version, err error) {
	defer annotate(&err, "copy to", dst)
	source, err := checkName(ctx, src)
	if err != nil {
		return "", err
	}
	target, err := checkChange(ctx, dst, header, cond)
	if err != nil {
		return "", err
	}
	if source == target && cond == (backend.Condition{}) {
		// A copy onto itself must not undo what comes in between.
		cond.IfVersion = srcVersion
		if srcVersion == "" {
			cond.IfVersion = "none"
		}
	}
	id := newContentID()
	args := []any{target, id, notNull(header), source, contentIDOf(srcVersion), keyVersion(header)}
	if cond.IfVersion != "" {
		args = append(args, contentIDOf(cond.IfVersion))
	}
	var found *contentID
	var copied int64
	_, err = s.do(ctx, s.copyStatement(cond), func(rows pgx.Rows) error {
		found = nil
		return into(&found, &copied)(rows)
	}, args...)
	switch {
	case err != nil:
		if err = s.settle(ctx, target, id, err); err != nil {
			return "", err
		}
		return versionOf(id), nil
	case found == nil:
		return "", atrest.ErrNotFound
	case *found != contentIDOf(srcVersion):
		return "", atrest.ErrConflict
	}
	return versionOf(id), conditionMet(copied, cond)
}

func (s *Store) copyStatement(cond backend.Condition) *statement {
	switch {
	case cond.IfAbsent:
		return s.sql.copyIfAbsent
	case cond.IfVersion != "":
		return s.sql.copyIfVersion
	}
	return s.sql.copy
}

// Ways to write the target of a copy, as putSQL and its like write that of a put.
const (
	insertTarget = `
    INSERT INTO @schema@.objects (name, version, size, header, body, chunk_size, key_version)
    SELECT $1, $2, size, $3, body, chunk_size, $6 FROM source WHERE version = $5
    ON CONFLICT (name) DO `

	anyTarget = insertTarget + `UPDATE SET version = EXCLUDED.version, size = EXCLUDED.size,
        header = EXCLUDED.header, body = EXCLUDED.body, chunk_size = EXCLUDED.chunk_size,
        key_version = EXCLUDED.key_version`

	absentTarget = insertTarget + `NOTHING`

	versionTarget = `
    UPDATE @schema@.objects o
    SET version = $2, size = s.size, header = $3, body = s.body, chunk_size = s.chunk_size, key_version = $6
    FROM source s WHERE o.name = $1 AND o.version = $7 AND s.version = $5`
)

// copySQL copies $4 of version $5 to $1, whose new version is $2 and header $3, with the
// key version $6. All parts of it see one snapshot, and nothing is copied unless the
// target's row was written. The trigger that removes the target's old chunks, which are
// the source's if both are one, comes after all parts. It returns the version of the source,
// and how many rows became the target.
func copySQL(target string) statement {
	params := []uint32{pgtype.TextOID, pgtype.UUIDOID, pgtype.ByteaOID, pgtype.TextOID, pgtype.UUIDOID, pgtype.Int4OID}
	if target == versionTarget {
		params = append(params, pgtype.UUIDOID)
	}
	return statement{`
WITH source AS (
    SELECT version, size, body, chunk_size FROM @schema@.objects WHERE name = $4
), target AS (` + target + `
    RETURNING 1
), copied AS (
    INSERT INTO @schema@.chunks (version, seq, data)
    SELECT $2, c.seq, c.data FROM @schema@.chunks c WHERE c.version = $5 AND EXISTS (SELECT FROM target)
)
SELECT (SELECT version FROM source), (SELECT count(*) FROM target)`, params, true}
}
