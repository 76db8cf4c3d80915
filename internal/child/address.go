package child

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// FreeAddress is "127.0.0.1:PORT" with a port that was free a moment ago. It is
// never free for sure until the server itself has bound it: whoever starts a
// server on it must be ready to try another.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	if err := l.Close(); err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	return l.Addr().String(), nil
}

// ErrAddressInUse means that another process has the port.
var ErrAddressInUse = errors.New("address already in use")

// TryAddresses calls start with an address, the fixed one unless it is empty, until the
// error is not ErrAddressInUse.
//
// If a port that was free a moment ago is gone when the server wants it, the next one is
// tried. A fixed one, as on a restart, is waited for: whoever holds it, most likely the
// local end of a short connection, lets go.
func TryAddresses(ctx context.Context, fixed string, start func(address string) error) error {
	for {
		address := fixed
		if address == "" {
			var err error
			if address, err = FreeAddress(); err != nil {
				return err
			}
		}
		err := start(address)
		if !errors.Is(err, ErrAddressInUse) {
			return err
		}
		if err := Poll(ctx); err != nil {
			return fmt.Errorf("no port to listen on: %w", err)
		}
	}
}

// PollInterval is how long [Poll] waits.
const PollInterval = 20 * time.Millisecond

// Poll waits for [PollInterval], between two looks at a condition, or until ctx
// ends, which is an error.
func Poll(ctx context.Context) error {
	timer := time.NewTimer(PollInterval)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
