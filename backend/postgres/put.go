package postgres

import (
	"context"
	"fmt"
	"io"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5/pgtype"
)

// inlineLimit is the length of the longest body that goes into its object's row.
const inlineLimit = 256 << 10

// Put stores an object as [backend.Blobs] says. A body of up to 256 KiB takes one
// statement, sent once the body was read. A larger one is sent while it is read, in
// a transaction that lasts as long, on a connection that is held as long; at most
// half of the pool's connections are, further puts wait. If the body panics, so does Put.
//
// Puts of up to 16 KiB, with no condition or IfAbsent, that are under way at once may share
// a statement. Of those with one name the last is written, or the first if absent: the others
// return as if they had come just before or after it. A put whose ctx ends then waits for
// the statement, for 3 seconds at most, and returns ErrUnavailable if it does not know by
// then what became of it.
//
// If the connection ends before the server has answered, Put looks for what it has
// put, and waits until a synchronous standby has it too, for 2 seconds in all, before it
// returns ErrUnavailable.
func (s *Store) Put(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (v backend.Version, err error) {
	defer annotate(&err, "put", name)
	escaped, err := checkChange(ctx, name, header, cond)
	if err != nil {
		return "", err
	}
	o := object{name: escaped, id: newContentID(), header: notNull(header)}
	begun, whole, err := readInline(ctx, body)
	if err != nil {
		return "", err
	}
	if whole {
		err = s.putInline(ctx, o, begun, cond)
	} else {
		err = s.putLarge(ctx, o, begun, body, cond)
	}
	if err := s.settle(ctx, o.name, o.id, err); err != nil {
		return "", err
	}
	return versionOf(o.id), nil
}

// putInline stores a body in its object's row.
func (s *Store) putInline(ctx context.Context, o object, body []byte, cond backend.Condition) error {
	o.body, o.size = body, int64(len(body))
	if len(body) <= groupBody && cond.IfVersion == "" {
		return s.putShared(ctx, o, cond)
	}
	return s.putAlone(ctx, o, cond)
}

// An object is a row that is to be.
type object struct {
	name      string
	id        contentID
	size      int64
	header    []byte
	body      []byte // nil if it is in chunks
	chunkSize *int32 // nil if it is not
}

// args are the parameters of the statements below.
func (o *object) args(cond backend.Condition) []any {
	args := []any{o.name, o.id, o.size, o.header, o.body, o.chunkSize, keyVersion(o.header)}
	if cond.IfVersion != "" {
		args = append(args, contentIDOf(cond.IfVersion))
	}
	return args
}

// The condition is part of the statement. Where another transaction has the row, it
// waits for that to end and then looks at the row again, so that no matter how many
// try, one wins, and each of the others affects no row.
var (
	putSQL = statement{`
INSERT INTO @schema@.objects (name, version, size, header, body, chunk_size, key_version)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (name) DO UPDATE SET version = EXCLUDED.version, size = EXCLUDED.size,
    header = EXCLUDED.header, body = EXCLUDED.body, chunk_size = EXCLUDED.chunk_size,
    key_version = EXCLUDED.key_version`, objectTypes, true}

	putIfAbsentSQL = statement{`
INSERT INTO @schema@.objects (name, version, size, header, body, chunk_size, key_version)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (name) DO NOTHING`, objectTypes, true}

	putIfVersionSQL = statement{`
UPDATE @schema@.objects SET version = $2, size = $3, header = $4, body = $5, chunk_size = $6, key_version = $7
WHERE name = $1 AND version = $8`, append(objectTypes[:7:7], pgtype.UUIDOID), true}

	objectTypes = []uint32{pgtype.TextOID, pgtype.UUIDOID, pgtype.Int8OID, pgtype.ByteaOID, pgtype.ByteaOID, pgtype.Int4OID, pgtype.Int4OID}
)

func (s *Store) putStatement(cond backend.Condition) *statement {
	switch {
	case cond.IfAbsent:
		return s.sql.putIfAbsent
	case cond.IfVersion != "":
		return s.sql.putIfVersion
	}
	return s.sql.put
}

// conditionMet tells by the number of rows affected whether cond was met.
func conditionMet(affected int64, cond backend.Condition) error {
	switch {
	case affected == 1:
		return nil
	case cond.IfAbsent:
		return atrest.ErrExists
	case cond.IfVersion != "":
		return atrest.ErrConflict
	}
	return fmt.Errorf("the statement changed %d rows, not one", affected)
}

// readInline reads what may become an inline body, and tells whether it is the
// whole body. If not, what was read is the beginning.
func readInline(ctx context.Context, body io.Reader) (begun []byte, whole bool, err error) {
	begun = make([]byte, firstRead(body))
	n := 0
	for {
		m, err := fill(ctx, body, begun[n:])
		n += m
		switch {
		case err == io.EOF:
			// A body may notice the end of ctx only by ending early itself.
			return begun[:n], true, ctx.Err()
		case err != nil:
			return nil, false, err
		case n > inlineLimit:
			return begun, false, nil
		}
		begun = append(begun, make([]byte, min(len(begun), inlineLimit+1-len(begun)))...)
	}
}

// firstRead is how many bytes to ask for at first: one more than the body has, if
// it says so, in order to see its end.
func firstRead(body io.Reader) int {
	size := 8 << 10
	if sized, ok := body.(interface{ Len() int }); ok {
		size = max(sized.Len(), 0)
	}
	return min(size, inlineLimit) + 1
}

// fill reads until buf is full. io.ReadFull would not do: it reports EOF after
// some bytes as io.ErrUnexpectedEOF, and that is also what a body that was cut
// short returns as its own error.
func fill(ctx context.Context, r io.Reader, buf []byte) (int, error) {
	n := 0
	for n < len(buf) {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		m, err := r.Read(buf[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
