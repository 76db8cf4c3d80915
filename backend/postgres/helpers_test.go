package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5/pgxpool"
)

// mustPut stores n bytes that depend on n, with the header "header".
func mustPut(t testing.TB, s *Store, name string, n int) backend.Version {
	t.Helper()
	v, err := s.Put(context.Background(), name, []byte("header"), bytes.NewReader(bodyOf(n)), backend.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// bodyOf returns n bytes that depend on n, of which no two chunks are alike.
func bodyOf(n int) []byte {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], uint64(n))
	b := make([]byte, n)
	rand.NewChaCha8(seed).Read(b) // never fails
	return b
}

func wantObject(t testing.TB, s *Store, name string, v backend.Version, n int) {
	t.Helper()
	o, err := s.Get(context.Background(), name, backend.All, v)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Body.Close()
	got := make([]byte, n+1)
	m, err := io.ReadFull(o.Body, got)
	if wellEnded := err == io.EOF || err == io.ErrUnexpectedEOF; !wellEnded || o.Size != int64(n) || !bytes.Equal(got[:m], bodyOf(n)) || string(o.Header) != "header" {
		t.Fatalf("%q has %d bytes, header %q, error %v; want %d bytes", name, m, o.Header, err, n)
	}
}

// elsewhere returns a store like s with connections of another pool.
func elsewhere(s *Store, pool *pgxpool.Pool) *Store {
	other := *s
	other.pool = pool
	other.gather()
	return &other
}

func wantNoResidue(t testing.TB, s *Store) {
	t.Helper()
	if left := residue(t, s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
