package devs3

import (
	"errors"
	"testing"
)

// StartForTest starts a server for one test or benchmark and stops it with it.
// A missing server fails the test: a suite that skips what it cannot run looks
// like one that passes.
func StartForTest(tb testing.TB, kind Kind) *Server {
	tb.Helper()
	return StartForTestWith(tb, Options{Kind: kind})
}

// StartForTestWith is [StartForTest] with more to say.
func StartForTestWith(tb testing.TB, o Options) *Server {
	tb.Helper()
	s, err := Start(tb.Context(), o)
	if errors.Is(err, ErrNoBinary) {
		tb.Fatalf("%v\nThe tests run against real S3 servers: run `make tools` once to build them.", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return s
}
