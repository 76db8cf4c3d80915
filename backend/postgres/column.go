package postgres

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// A column is a parameter of an array type: one value of each object of a batch, which has
// one object at least. pgx would take slices, but appends their elements one by one to a
// buffer that grows and is copied each time, which allocates several times what is sent.
// This one says first how much it will be.
type column struct {
	*columnType
	batch []object
}

// Format has tracers of statements print how many values there are and not the values.
func (c column) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%d values", len(c.batch)) }

// LogValue is Format for log/slog.
func (c column) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

// A columnType is what the elements of a column are: of a type of PostgreSQL, each in its binary
// format.
type columnType struct {
	oid  uint32
	size func(o *object) int // in bytes; less than 0 is NULL
	add  func(buf []byte, o *object) []byte
}

var (
	nameColumn = &columnType{pgtype.TextOID,
		func(o *object) int { return len(o.name) },
		func(buf []byte, o *object) []byte { return append(buf, o.name...) }}
	idColumn = &columnType{pgtype.UUIDOID,
		func(o *object) int { return len(o.id) },
		func(buf []byte, o *object) []byte { return append(buf, o.id[:]...) }}
	headerColumn = &columnType{pgtype.ByteaOID,
		func(o *object) int { return len(o.header) },
		func(buf []byte, o *object) []byte { return append(buf, o.header...) }}
	bodyColumn = &columnType{pgtype.ByteaOID,
		func(o *object) int { return len(o.body) },
		func(buf []byte, o *object) []byte { return append(buf, o.body...) }}
	keyVersionColumn = &columnType{pgtype.Int4OID,
		func(o *object) int {
			if keyVersion(o.header) == nil {
				return -1
			}
			return 4
		},
		func(buf []byte, o *object) []byte {
			return binary.BigEndian.AppendUint32(buf, uint32(*keyVersion(o.header)))
		}}
)

// appendTo writes the array as PostgreSQL's array_recv reads it
// (src/backend/utils/adt/arrayfuncs.c): how many dimensions, whether there is a NULL, the type of
// the elements, and of the one dimension how many there are and the number of the first;
// then of each element its length, or -1 for NULL, and its bytes. All numbers have 32 bits.
func (c column) appendTo(buf []byte) []byte {
	size, nulls := 20, uint32(0)
	for i := range c.batch {
		n := c.size(&c.batch[i])
		if n < 0 {
			nulls = 1
		}
		size += 4 + max(n, 0)
	}
	buf = slices.Grow(buf, size)
	for _, x := range []uint32{1, nulls, c.oid, uint32(len(c.batch)), 1} {
		buf = binary.BigEndian.AppendUint32(buf, x)
	}
	for i := range c.batch {
		o := &c.batch[i]
		n := c.size(o)
		buf = binary.BigEndian.AppendUint32(buf, uint32(int32(max(n, -1))))
		if n >= 0 {
			buf = c.add(buf, o)
		}
	}
	return buf
}

// columnsKnown is noted of a connection that takes columns.
const columnsKnown = "github.com/atrest/atrest/backend/postgres: columns"

// knowColumns has a connection take columns as parameters, whichever way statements are
// sent. pgx asks the functions of this list about values that are of none of the types that
// it knows. To all others it makes no difference.
func knowColumns(conn *pgx.Conn) {
	if conn.PgConn().CustomData()[columnsKnown] != nil {
		return
	}
	types := conn.TypeMap()
	// A new slice, for who configures the pool may have given all connections the same one.
	types.TryWrapEncodePlanFuncs = append([]pgtype.TryWrapEncodePlanFunc{planColumn}, types.TryWrapEncodePlanFuncs...)
	conn.PgConn().CustomData()[columnsKnown] = true
}

// planColumn is a pgtype.TryWrapEncodePlanFunc. pgx wants to be told of a value of another type
// that can be encoded instead; that it can be is all that matters.
func planColumn(value any) (plan pgtype.WrappedEncodePlanNextSetter, next any, ok bool) {
	c, ok := value.(column)
	if !ok {
		return nil, nil, false
	}
	switch c.oid {
	case pgtype.TextOID:
		return columnPlan{}, []string{}, true
	case pgtype.UUIDOID:
		return columnPlan{}, []contentID{}, true
	case pgtype.Int4OID:
		return columnPlan{}, []int32{}, true
	}
	return columnPlan{}, [][]byte{}, true
}

type columnPlan struct{}

func (columnPlan) SetNext(pgtype.EncodePlan) {}

func (columnPlan) Encode(value any, buf []byte) ([]byte, error) {
	return value.(column).appendTo(buf), nil
}
