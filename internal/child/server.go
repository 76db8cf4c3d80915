package child

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// askTimeout bounds one question to a server that starts: whoever else has the
	// port may never answer it.
	askTimeout = 5 * time.Second

	// failedTimeout is how long a server that did not get ready may take to end
	// before it is killed.
	failedTimeout = 10 * time.Second
)

// StartServer starts a server and asks until it answers, with nil. If another process has
// its port, the error is [ErrAddressInUse]; ask must not take that one for ours.
func StartServer(ctx context.Context, c Command, ask func(context.Context) error) (*Process, error) {
	out := &Output{To: c.Log}
	c.Log = out
	p, err := Start(c)
	if err != nil {
		return nil, err
	}
	for {
		err := askOnce(ctx, ask)
		if p.ended() {
			return nil, out.StartFailure()
		}
		if err == nil {
			return p, nil
		}
		if ended := Poll(ctx); ended != nil {
			err = fmt.Errorf("the server did not get ready: %w; the last answer: %w; it printed:\n%s", ended, err, out.Tail())
			return nil, errors.Join(err, p.Stop(failedTimeout))
		}
	}
}

func askOnce(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return ask(ctx)
}
