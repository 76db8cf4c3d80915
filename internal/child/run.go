package child

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

// Run runs a command to its end, and kills it if ctx ends first. That it failed
// is an error, which shows the last lines it printed; c.Log is not used.
func Run(ctx context.Context, c Command) error {
	var out Output
	c.Log = &out
	p, err := Start(c)
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s: %w", filepath.Base(c.Path), context.Cause(ctx)), p.Kill())
	}
	if code := p.ExitCode(); code != 0 {
		return fmt.Errorf("%s ended with code %d; it printed:\n%s", filepath.Base(c.Path), code, out.Tail())
	}
	return nil
}
