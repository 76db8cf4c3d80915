package devpostgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
)

// urlVariable names the environment variable that chooses a server which is
// running already.
const urlVariable = "ATREST_TEST_POSTGRES_URL"

// external is the server that the environment names, nil if it names none.
func external(ctx context.Context, o Options) (*Server, error) {
	text := os.Getenv(urlVariable)
	if text == "" {
		return nil, nil
	}
	if !o.isZero() {
		return nil, fmt.Errorf("%w: a server of a special kind, while %s names one that is running", errors.ErrUnsupported, urlVariable)
	}
	at, err := url.Parse(text)
	if err != nil || at.Host == "" || at.Scheme != "postgres" && at.Scheme != "postgresql" {
		// The parser's error would show the password.
		return nil, fmt.Errorf("%s is not of the form postgres://USER:PASSWORD@HOST:PORT/DATABASE", urlVariable)
	}
	if at.Port() == "" {
		at.Host = net.JoinHostPort(at.Hostname(), "5432")
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := ping(ctx, at); err != nil {
		return nil, fmt.Errorf("the server that %s names: %w", urlVariable, err)
	}
	return &Server{admin: at}, nil
}
