package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/atrest/atrest/backend"
)

// payload returns size bytes that are the same for the same seed.
func payload(seed, size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b) // never fails
	return b
}

// onlyReader hides how long a body is.
func onlyReader(b []byte) io.Reader { return struct{ io.Reader }{bytes.NewReader(b)} }

func mustPut(tb testing.TB, s *Store, name string, header string, body []byte) backend.Version {
	tb.Helper()
	v, err := s.Put(tb.Context(), name, []byte(header), onlyReader(body), backend.Condition{})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// want fails the test unless name is that object.
func want(tb testing.TB, s *Store, name string, v backend.Version, header string, body []byte) {
	tb.Helper()
	o, err := s.Get(context.WithoutCancel(tb.Context()), name, backend.All, v)
	if err != nil {
		tb.Fatal(err)
	}
	defer o.Body.Close()
	got, err := io.ReadAll(o.Body)
	if err != nil {
		tb.Fatal(err)
	}
	if string(o.Header) != header || !bytes.Equal(got, body) {
		tb.Fatalf("%q has the header %.60q and %d bytes; want %.60q and %d", name, o.Header, len(got), header, len(body))
	}
}

func wantError(tb testing.TB, what string, err, want error) {
	tb.Helper()
	if !errors.Is(err, want) {
		tb.Fatalf("%s: error %v; want %q", what, err, want)
	}
}

// readerFunc is a Read method.
type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
