package postgres

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// TestDamage changes rows behind the store's back. What is missing must be noticed
// here; what is merely different is for package storage to notice.
func TestDamage(t *testing.T) {
	t.Parallel()
	const small, large = 1000, 5*chunkSize + 100
	for _, damage := range []struct {
		name string
		size int
		sql  string
	}{
		{"first chunk deleted", large, `DELETE FROM @schema@.chunks WHERE seq = 0`},
		{"chunk deleted", large, `DELETE FROM @schema@.chunks WHERE seq = 3`},
		{"last chunk deleted", large, `DELETE FROM @schema@.chunks WHERE seq = 5`},
		{"all chunks deleted", large, `DELETE FROM @schema@.chunks`},
		{"first chunk cut", large, `UPDATE @schema@.chunks SET data = substring(data FROM 1 FOR 1000) WHERE seq = 0`},
		{"chunk cut", large, `UPDATE @schema@.chunks SET data = substring(data FROM 1 FOR 1000) WHERE seq = 2`},
		{"chunk emptied", large, `UPDATE @schema@.chunks SET data = '' WHERE seq = 4`},
		{"last chunk cut", large, `UPDATE @schema@.chunks SET data = substring(data FROM 1 FOR 10) WHERE seq = 5`},
		{"chunks of another size", large, `UPDATE @schema@.objects SET chunk_size = 1000`},
		{"chunks of size 0", large, `UPDATE @schema@.objects SET chunk_size = 0`},
		{"chunks of the greatest size", large, `UPDATE @schema@.objects SET chunk_size = 2147483647`},
		{"size greater", large, `UPDATE @schema@.objects SET size = size + 1`},
		{"size much greater", large, `UPDATE @schema@.objects SET size = 9223372036854775807`},
		{"size negative", large, `UPDATE @schema@.objects SET size = -1`},
		{"inline size greater", small, `UPDATE @schema@.objects SET size = size + 1`},
		{"inline size smaller", small, `UPDATE @schema@.objects SET size = size - 1`},
		{"inline body gone", small, `UPDATE @schema@.objects SET body = NULL`},
		{"inline body cut", small, `UPDATE @schema@.objects SET body = substring(body FROM 1 FOR 10)`},
		{"inline body too long", small, `UPDATE @schema@.objects SET size = 2000000, body = decode(repeat('00', 2000000), 'hex')`},
		{"header too long", small, `UPDATE @schema@.objects SET header = decode(repeat('00', 5000), 'hex')`},
	} {
		t.Run(damage.name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t, newPool(t, server.URL()))
			mustPut(t, s, "name", damage.size)
			// Whoever can do this can do without the constraints as well.
			execSQL(t, s, dropChecks)
			execSQL(t, s, damage.sql)
			err := readAll(t, s, "name")
			if damage.name == "chunks of size 0" {
				if err == nil {
					t.Error("it was read")
				}
				return
			}
			if !errors.Is(err, atrest.ErrTampered) {
				t.Errorf("error %v; want ErrTampered", err)
			}
			for e, err := range s.List(t.Context(), "", "") {
				if err != nil || e.Name != "name" {
					t.Errorf("listed as %q, error %v", e.Name, err)
				}
			}
			mustPut(t, s, "name", damage.size)
			if err := readAll(t, s, "name"); err != nil {
				t.Errorf("after another put: %v", err)
			}
		})
	}
}

const dropChecks = `
DO $do$ DECLARE c text; BEGIN
    FOR c IN SELECT conname FROM pg_constraint WHERE conrelid = '@schema@.objects'::regclass AND contype = 'c' LOOP
        EXECUTE 'ALTER TABLE @schema@.objects DROP CONSTRAINT ' || quote_ident(c);
    END LOOP;
    ALTER TABLE @schema@.objects ALTER COLUMN header SET STORAGE EXTENDED;
END $do$`

// readAll reads an object to its end and checks that it yields no more than it says.
func readAll(t *testing.T, s *Store, name string) error {
	t.Helper()
	o, err := s.Get(t.Context(), name, backend.All, "")
	if err != nil {
		return err
	}
	defer o.Body.Close()
	n, err := io.Copy(io.Discard, o.Body)
	if err == nil && n != o.Size {
		t.Errorf("the body ends well after %d of %d bytes", n, o.Size)
	}
	return err
}

// TestForeignRows checks that rows whose names no store has made hide no object.
func TestForeignRows(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	mustPut(t, s, "a", 10)
	mustPut(t, s, "z", 10)
	for _, name := range []string{"b c", "%", "!zz", "é", ""} {
		execSQL(t, s, `INSERT INTO @schema@.objects (name, version, size, header, body) VALUES ($1, gen_random_uuid(), 0, '', '')`, name)
	}
	var names []string
	for e, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, e.Name)
	}
	if len(names) != 2 || names[0] != "a" || names[1] != "z" {
		t.Errorf("listed: %q", names)
	}
}

// TestOvertaken deletes, and replaces, an object while it is read.
func TestOvertaken(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	const size = 20 * chunkSize
	for name, change := range map[string]func(){
		"deleted":  func() { _ = s.Delete(t.Context(), "name", backend.Condition{}) },
		"replaced": func() { mustPut(t, s, "name", 10) },
	} {
		mustPut(t, s, "name", size)
		o, err := s.Get(t.Context(), "name", backend.All, "")
		if err != nil {
			t.Fatal(err)
		}
		change()
		if _, err := io.Copy(io.Discard, o.Body); !errors.Is(err, atrest.ErrConflict) {
			t.Errorf("%s: %v; want ErrConflict", name, err)
		}
		o.Body.Close()
	}
}

// TestChunkSizes reads bodies in chunks of other sizes than those that are written now.
func TestChunkSizes(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	const size = 10*chunkSize + 5
	body := bodyOf(size)
	for _, chunk := range []int{60_001, 64 << 10, 3 << 20, pageSize, pageSize + 1, 7 << 20, 10*chunkSize + 5, 16 << 20} {
		id := newContentID()
		mustPut(t, s, "name", 10)
		// In binary, unlike execSQL, and cut by the server.
		_, err := s.pool.Exec(t.Context(), inSchema(s.schema, `INSERT INTO @schema@.chunks
			SELECT $1, seq, substring($2::bytea FROM seq * $3::integer + 1 FOR $3::integer)
			FROM generate_series(0, (octet_length($2::bytea) - 1) / $3::integer) seq`), id, body, chunk)
		if err != nil {
			t.Fatal(err)
		}
		execSQL(t, s, `UPDATE @schema@.objects SET version = $1, size = $2, body = NULL, chunk_size = $3`, versionString(id), size, chunk)
		wantObject(t, s, "name", versionOf(id), size)
		for _, rng := range []backend.Range{{Offset: 5, Length: 10}, {Offset: 990, Length: 20}, {Offset: 5<<20 - 3, Length: 3 << 20}, {Offset: size - 1, Length: 1}} {
			o, err := s.Get(t.Context(), "name", rng, "")
			if err != nil {
				t.Fatalf("chunks of %d: %v", chunk, err)
			}
			got, err := io.ReadAll(o.Body)
			o.Body.Close()
			if err != nil || !bytes.Equal(got, body[rng.Offset:rng.Offset+rng.Length]) {
				t.Errorf("chunks of %d, %+v: %d bytes, error %v", chunk, rng, len(got), err)
			}
		}
	}
}

func versionString(id contentID) string { return string(versionOf(id)) }

// TestKeptRow: where something in the database keeps a row, a deletion of its version
// ends, and fails.
func TestKeptRow(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	v := mustPut(t, s, "n", 10)
	execSQL(t, s, `CREATE FUNCTION @schema@.keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`)
	execSQL(t, s, `CREATE TRIGGER keep BEFORE DELETE ON @schema@.objects FOR EACH ROW EXECUTE FUNCTION @schema@.keep()`)
	if err := s.Delete(t.Context(), "n", backend.Condition{IfVersion: v}); !errors.Is(err, atrest.ErrPermission) {
		t.Errorf("%v, want ErrPermission", err)
	}
	wantObject(t, s, "n", v, 10)
}
