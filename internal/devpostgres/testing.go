package devpostgres

import (
	"errors"
	"testing"
)

// StartForTest starts a PostgreSQL for one test or benchmark and stops it with
// it. A missing server fails the test: a suite that skips what it cannot run
// looks like one that passes. Of several Options, none means the zero value;
// more than one is a mistake and fails.
func StartForTest(tb testing.TB, options ...Options) *Server {
	tb.Helper()
	var o Options
	switch len(options) {
	case 0:
	case 1:
		o = options[0]
	default:
		tb.Fatal("devpostgres: StartForTest takes one Options")
	}
	s, err := Start(tb.Context(), o)
	if errors.Is(err, ErrNoBinary) {
		tb.Fatalf("%v\nThe tests run against a real PostgreSQL: run `make tools` once to install it.", err)
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
