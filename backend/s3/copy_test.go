package s3

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/devs3"
)

// TestCopiesThatCross copies in opposite directions and in a circle at the same
// time. Without an order, MinIO lets such copies wait for each other.
func TestCopiesThatCross(t *testing.T) {
	names := []string{"a", "b", "c"}
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		for _, sole := range []bool{false, true} {
			cfg := config(t, srv)
			cfg.SoleWriter = sole
			s := newStore(t, cfg)
			for _, name := range names {
				mustPut(t, s, name, "header", payload(1, 50_000))
			}
			if _, err := s.Capabilities(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var copying sync.WaitGroup
			for i := range 6 { // each pair in both directions
				from, to := names[i%3], names[(i+1+i/3)%3]
				copying.Go(func() {
					for range 8 {
						if err := copyCurrent(ctx, s, to, from); err != nil {
							t.Errorf("SoleWriter %v, copy from %s to %s: %v", sole, from, to, err)
							return
						}
					}
				})
			}
			copying.Wait()
			for _, name := range names {
				want(t, s, name, "", "header", payload(1, 50_000))
			}
		}
	})
}

// copyCurrent copies what is there, unless it is replaced meanwhile.
func copyCurrent(ctx context.Context, s *Store, to, from string) error {
	o, err := s.Get(ctx, from, backend.Range{}, "")
	if err != nil {
		return fmt.Errorf("look: %w", err)
	}
	_, err = s.Copy(ctx, to, from, o.Version, o.Header, backend.Condition{})
	if errors.Is(err, atrest.ErrConflict) {
		return nil
	}
	return err
}

func TestLockCopy(t *testing.T) {
	s := newStore(t, config(t, server(t, devs3.Kinds()[0])))
	unlock, err := s.lockCopy(t.Context(), "x", "x")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for _, keys := range [][2]string{{"x", "y"}, {"y", "x"}} {
		_, err := s.lockCopy(ctx, keys[0], keys[1])
		wantError(t, "a copy beside another", err, context.DeadlineExceeded)
	}
	unlock()
	// None of the refused has kept a lock.
	for _, keys := range [][2]string{{"x", "y"}, {"y", "x"}, {"y", "y"}} {
		unlock, err := s.lockCopy(t.Context(), keys[0], keys[1])
		if err != nil {
			t.Fatal(err)
		}
		unlock()
	}
}
