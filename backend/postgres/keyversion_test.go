package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/atrest/atrest/backend"
)

// envelope makes a header as docs/format.md lays it out, as far as the key version.
func envelope(metadata int, keyVersion uint32) []byte {
	h := append([]byte("atrest\x01\x01"), make([]byte, 52)...)
	h = binary.BigEndian.AppendUint16(h, uint16(metadata))
	h = append(h, make([]byte, metadata+32)...)
	h = binary.BigEndian.AppendUint32(h, keyVersion)
	return append(h, "and so on"...)
}

// TestKeyVersion checks what the column says, for good headers and for any others,
// which must be accepted all the same.
func TestKeyVersion(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	good := envelope(20, 7)
	altered := func(i int, b byte) []byte {
		h := bytes.Clone(good)
		h[i] = b
		return h
	}
	for _, c := range []struct {
		header []byte
		want   int // 0: null
	}{
		{envelope(0, 1), 1},
		{envelope(528, 3), 3},
		{envelope(20, 1<<31-1), 1<<31 - 1},
		{envelope(20, 0x01020304), 0x01020304},
		{envelope(20, 1<<31), 0},
		{envelope(20, 1<<32-1), 0},
		{envelope(20, 0), 0},
		{good[:94+20+4], 7},
		{good[:94+20+3], 0},
		{good[:98], 0},
		{good[:61], 0},
		{good[:7], 0},
		{nil, 0},
		{altered(0, 'A'), 0},
		{altered(6, 2), 0},
		{altered(7, 2), 0},
		{altered(60, 255), 0},
		{[]byte("header"), 0},
	} {
		if got := keyVersion(t, s, c.header); got != c.want {
			t.Errorf("the header %x has the key version %d; want %d", c.header, got, c.want)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		h := envelope(r.IntN(1024), r.Uint32())[:]
		for range r.IntN(3) {
			h[r.IntN(len(h))] = byte(r.Uint32())
		}
		keyVersion(t, s, h[:r.IntN(min(len(h), backend.MaxHeader))])
	}
}

// keyVersion puts the header and sets it again, and returns what the column says.
func keyVersion(t *testing.T, s *Store, header []byte) (version int) {
	t.Helper()
	v, err := s.Put(t.Context(), "name", []byte("another"), bytes.NewReader(nil), backend.Condition{})
	if err == nil {
		err = s.SetHeader(t.Context(), backend.HeaderUpdate{Name: "name", Version: v, Old: []byte("another"), New: header})
	}
	if err != nil {
		t.Fatalf("header %x: %v", header, err)
	}
	row := s.pool.QueryRow(context.Background(), inSchema(s.schema, `SELECT coalesce(key_version, 0) FROM @schema@.objects`))
	if err := row.Scan(&version); err != nil {
		t.Fatal(err)
	}
	return version
}
