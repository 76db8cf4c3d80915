package postgres

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5/pgtype"
)

// TestColumns compares what is sent with what pgx makes of slices, which the server
// has been given for years.
func TestColumns(t *testing.T) {
	t.Parallel()
	conn, err := newPool(t, server.URL()).Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for range 2 {
		knowColumns(conn.Conn())
	}
	all := []object{
		{name: "a", id: newContentID(), header: envelope(3, 1<<31-1), body: []byte("body")},
		{name: "", id: newContentID(), header: []byte{}, body: []byte{}},
		{name: "a longer name", id: newContentID(), header: envelope(0, 2), body: randomBytes(5000)},
	}
	for _, batch := range [][]object{all, all[:1], all[1:2], all[2:]} {
		var names []string
		var ids []contentID
		var headers, bodies [][]byte
		var versions []*int32
		for _, o := range batch {
			names, ids, headers, bodies = append(names, o.name), append(ids, o.id), append(headers, o.header), append(bodies, o.body)
			versions = append(versions, keyVersion(o.header))
		}
		for _, c := range []struct {
			of    *columnType
			oid   uint32
			slice any
		}{
			{nameColumn, pgtype.TextArrayOID, names},
			{idColumn, pgtype.UUIDArrayOID, ids},
			{headerColumn, pgtype.ByteaArrayOID, headers},
			{bodyColumn, pgtype.ByteaArrayOID, bodies},
			{keyVersionColumn, pgtype.Int4ArrayOID, versions},
		} {
			types := conn.Conn().TypeMap()
			want, err := types.Encode(c.oid, pgtype.BinaryFormatCode, c.slice, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := types.Encode(c.oid, pgtype.BinaryFormatCode, column{c.of, batch}, []byte("before"))
			if err != nil || !bytes.Equal(got, append([]byte("before"), want...)) {
				t.Errorf("type %d: %x, %v; want %x", c.oid, got, err, want)
			}
		}
	}
}

// BenchmarkSendBatch is for what a shared statement allocates: some 3 times the bytes that
// are sent, of which most is the message that pgx makes of the parameters.
func BenchmarkSendBatch(b *testing.B) {
	for _, n := range []int{2, 8, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := newStore(b, newPool(b, server.URL()+"&synchronous_commit=off"))
			batch := make([]object, n)
			for i := range batch {
				batch[i] = object{name: fmt.Sprintf("team/app/state-%d", i), id: newContentID(), header: randomBytes(230), body: randomBytes(1100)}
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.sendBatch(b.Context(), batch, backend.Condition{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestColumnsPrint has a batch printed, as tracers of statements do: how many there are, and not what.
func TestColumnsPrint(t *testing.T) {
	t.Parallel()
	c := column{bodyColumn, []object{{body: []byte("content")}, {body: []byte("content")}}}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("query", "arg", c, "args", []any{c})
	slog.New(slog.NewTextHandler(&log, nil)).Info("query", "arg", c, "args", []any{c})
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%#v %+v %x", c, []any{c}, c), log.String()} {
		if strings.Contains(text, "content") || strings.Contains(text, "636f6e") || strings.Contains(text, "Y29udGVudA") || len(text) > 600 {
			t.Errorf("printed as %s", text)
		}
	}
	if fmt.Sprint(c) != "2 values" {
		t.Errorf("printed as %v", c)
	}
}

// TestColumnsShareNothing has the owner of a pool give one list of functions to all connections.
func TestColumnsShareNothing(t *testing.T) {
	t.Parallel()
	refuse := func(any) (pgtype.WrappedEncodePlanNextSetter, any, bool) { return nil, nil, false }
	list := append(make([]pgtype.TryWrapEncodePlanFunc, 0, 10), refuse)
	conn, err := newPool(t, server.URL()).Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	conn.Conn().TypeMap().TryWrapEncodePlanFuncs = list
	delete(conn.Conn().PgConn().CustomData(), columnsKnown)
	knowColumns(conn.Conn())
	if got := conn.Conn().TypeMap().TryWrapEncodePlanFuncs; len(got) != 2 {
		t.Errorf("%d functions", len(got))
	}
	if list[:2][1] != nil {
		t.Error("the owner's list was written to")
	}
}
