package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5"
)

// envelope makes a header as docs/format.md lays it out, as far as the key version.
func envelope(metadata int, keyVersion uint32) []byte {
	h := append([]byte("atrest\x01\x01"), make([]byte, 52)...)
	h = binary.BigEndian.AppendUint16(h, uint16(metadata))
	h = append(h, make([]byte, metadata+32)...)
	h = binary.BigEndian.AppendUint32(h, keyVersion)
	return append(h, "and so on"...)
}

// someHeaders are envelopes, and others that nearly are.
func someHeaders() map[string]int32 { // 0: NULL
	good := envelope(20, 7)
	altered := func(i int, b byte) string {
		h := bytes.Clone(good)
		h[i] = b
		return string(h)
	}
	return map[string]int32{
		string(envelope(0, 1)):           1,
		string(envelope(528, 3)):         3,
		string(envelope(20, 1<<31-1)):    1<<31 - 1,
		string(envelope(20, 0x01020304)): 0x01020304,
		string(envelope(20, 1<<31)):      0,
		string(envelope(20, 1<<32-1)):    0,
		string(envelope(20, 0)):          0,
		string(good[:94+20+4]):           7,
		string(good[:94+20+3]):           0,
		string(envelope(0, 5)[:98]):      5,
		string(envelope(0, 5)[:97]):      0,
		string(good[:98]):                0,
		string(good[:61]):                0,
		string(good[:7]):                 0,
		"":                               0,
		altered(0, 'A'):                  0,
		altered(6, 2):                    0,
		altered(7, 2):                    0,
		altered(60, 255):                 0,
		"header":                         0,
	}
}

// orZero is a key version, or 0 for NULL.
func orZero(version *int32) int32 {
	if version == nil {
		return 0
	}
	return *version
}

// TestKeyVersion compares the function, for good headers and for any others, with the expression
// by which the database once did the same.
func TestKeyVersion(t *testing.T) {
	t.Parallel()
	var headers [][]byte
	for h, want := range someHeaders() {
		if got := orZero(keyVersion([]byte(h))); got != want {
			t.Errorf("the header %x has the key version %d; want %d", h, got, want)
		}
		headers = append(headers, []byte(h))
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		h := envelope(r.IntN(1024), r.Uint32())
		if r.IntN(2) == 0 {
			h = envelope(r.IntN(1024), r.Uint32N(1000))
		}
		for range r.IntN(3) {
			h[r.IntN(len(h))] = byte(r.Uint32())
		}
		if r.IntN(2) == 0 {
			h = h[:r.IntN(len(h))]
		}
		headers = append(headers, h)
	}
	first, err := migrationFiles.ReadFile("migrations/0001_objects.sql")
	if err != nil {
		t.Fatal(err)
	}
	_, rule, _ := strings.Cut(string(first), "GENERATED ALWAYS AS (")
	rule, _, found := strings.Cut(rule, ") STORED")
	if !found {
		t.Fatal("the expression is not found")
	}
	rows, _ := newPool(t, server.URL()).Query(t.Context(), `SELECT `+rule+` FROM unnest($1::bytea[]) WITH ORDINALITY AS o (header, place) ORDER BY place`, headers)
	old, err := pgx.CollectRows(rows, pgx.RowTo[*int32])
	if err != nil || len(old) != len(headers) {
		t.Fatalf("%d of %d: %v", len(old), len(headers), err)
	}
	known := 0
	for i, want := range old {
		if want != nil {
			known++
		}
		if got := keyVersion(headers[i]); orZero(got) != orZero(want) || (got == nil) != (want == nil) {
			t.Errorf("the header %x has the key version %d; it had %d", headers[i], orZero(got), orZero(want))
		}
	}
	if known < 1000 {
		t.Errorf("only %d headers have a key version", known)
	}
}

// TestKeyVersionWritten writes headers in every way there is, and looks at the column.
func TestKeyVersionWritten(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "exec"} {
		s := newStore(t, newPool(t, server.URL()+"&default_query_exec_mode="+mode))
		for way, write := range headerWriters(t, s) {
			for h, want := range someHeaders() {
				execSQL(t, s, `TRUNCATE @schema@.objects, @schema@.chunks`)
				if err := write([]byte(h)); err != nil {
					t.Fatalf("%s: %v", way, err)
				}
				var header []byte
				var got *int32
				err := s.pool.QueryRow(t.Context(), inSchema(s.schema, `SELECT header, key_version FROM @schema@.objects WHERE name = 'name'`)).Scan(&header, &got)
				if err != nil || orZero(got) != want || (got == nil) != (want == 0) || string(header) != h {
					t.Errorf("%s, %s: the header %x has the key version %d, %v; want %d", mode, way, h, orZero(got), err, want)
				}
			}
		}
	}
}

// headerWriters are ways to give the object "name" a header, where there is no object.
func headerWriters(t *testing.T, s *Store) map[string]func([]byte) error {
	another := envelope(0, 99)
	ifAbsent := backend.Condition{IfAbsent: true}
	put := func(name string, header []byte, size int, cond backend.Condition) (backend.Version, error) {
		return s.Put(t.Context(), name, header, bytes.NewReader(bodyOf(size)), cond)
	}
	before := func(then func(v backend.Version) error) error {
		v, err := put("name", another, 10, backend.Condition{})
		if err != nil {
			return err
		}
		return then(v)
	}
	copied := func(header []byte, cond backend.Condition) error {
		v, err := put("source", envelope(0, 98), 10, backend.Condition{})
		if err == nil {
			_, err = s.Copy(t.Context(), "name", "source", v, header, cond)
		}
		return err
	}
	batch := func(h []byte, cond backend.Condition) error {
		var objects []object
		for _, name := range []string{"name", "other"} {
			objects = append(objects, object{name: name, id: newContentID(), header: h, body: []byte(name)})
			h = another
		}
		return errors.Join(s.putTogether(t.Context(), objects, cond)...)
	}
	return map[string]func([]byte) error{
		"put":           func(h []byte) error { _, err := put("name", h, 10, backend.Condition{}); return err },
		"put if absent": func(h []byte) error { _, err := put("name", h, 10, ifAbsent); return err },
		"put over": func(h []byte) error {
			return before(func(backend.Version) error { _, err := put("name", h, 10, backend.Condition{}); return err })
		},
		"put if version": func(h []byte) error {
			return before(func(v backend.Version) error {
				_, err := put("name", h, 10, backend.Condition{IfVersion: v})
				return err
			})
		},
		"large put": func(h []byte) error { _, err := put("name", h, inlineLimit+1, backend.Condition{}); return err },
		"puts":      func(h []byte) error { return batch(h, backend.Condition{}) },
		"puts over": func(h []byte) error {
			return before(func(backend.Version) error { return batch(h, backend.Condition{}) })
		},
		"puts if absent": func(h []byte) error { return batch(h, ifAbsent) },
		"set header": func(h []byte) error {
			return before(func(v backend.Version) error {
				return s.SetHeader(t.Context(), backend.HeaderUpdate{Name: "name", Version: v, Old: another, New: h})
			})
		},
		"set headers": func(h []byte) error {
			return before(func(v backend.Version) error {
				w, err := put("other", another, 10, backend.Condition{})
				if err != nil {
					return err
				}
				return errors.Join(s.SetHeaders(t.Context(), []backend.HeaderUpdate{
					{Name: "other", Version: w, Old: another, New: nil},
					{Name: "name", Version: v, Old: another, New: h},
				})...)
			})
		},
		"copy":           func(h []byte) error { return copied(h, backend.Condition{}) },
		"copy if absent": func(h []byte) error { return copied(h, ifAbsent) },
		"copy over": func(h []byte) error {
			return before(func(backend.Version) error { return copied(h, backend.Condition{}) })
		},
		"copy if version": func(h []byte) error {
			return before(func(v backend.Version) error { return copied(h, backend.Condition{IfVersion: v}) })
		},
		"copy onto itself": func(h []byte) error {
			return before(func(v backend.Version) error {
				_, err := s.Copy(t.Context(), "name", "name", v, h, backend.Condition{})
				return err
			})
		},
	}
}
