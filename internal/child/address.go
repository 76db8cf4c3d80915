package child

import (
	"context"
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
