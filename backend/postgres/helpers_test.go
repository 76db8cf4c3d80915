package postgres

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/atrest/atrest/backend"
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

// bodyOf returns n bytes of which no two chunks are alike.
func bodyOf(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>10 + n)
	}
	return b
}

func wantObject(t testing.TB, s *Store, name string, v backend.Version, n int) {
	t.Helper()
	o, err := s.Get(context.Background(), name, backend.All, v)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Body.Close()
	got, err := io.ReadAll(o.Body)
	if err != nil || o.Size != int64(n) || !bytes.Equal(got, bodyOf(n)) || string(o.Header) != "header" {
		t.Fatalf("%q has %d bytes, header %q, error %v; want %d bytes", name, len(got), o.Header, err, n)
	}
}

func wantNoResidue(t testing.TB, s *Store) {
	t.Helper()
	if left := residue(t, s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
