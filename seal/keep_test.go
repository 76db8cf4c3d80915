package seal

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/atrest/atrest/backend/memory"
)

// states passes on what a Manager logs as states.
type states struct {
	slog.Handler
	to chan VaultState
}

func (s states) Enabled(context.Context, slog.Level) bool { return true }

func (s states) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "state" {
			s.to <- VaultState(a.Value.String())
		}
		return true
	})
	return nil
}

// TestKeepUnsealed restarts Vault under the loop: it comes back unsealed within two
// seconds of its start, and the service goes on.
func TestKeepUnsealed(t *testing.T) {
	t.Parallel()
	vault := bareVault(t)
	seen := make(chan VaultState, 100)
	m := newNode(t, vault, memory.NewRecords(), func(c *Config) {
		c.Logger = slog.New(states{slog.DiscardHandler, seen})
		c.KeepInterval = 200 * time.Millisecond
	})
	mustBoot(t, m, testPassword)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- m.KeepUnsealed(ctx) }()
	want := func(states ...VaultState) {
		t.Helper()
		for timeout := time.After(20 * time.Second); ; {
			select {
			case got := <-seen:
				for _, state := range states {
					if got == state {
						return
					}
				}
			case <-timeout:
				t.Fatalf("it never said %q", states)
			}
		}
	}
	want(VaultActive, VaultStandby)
	for range 2 {
		if err := vault.Kill(); err != nil {
			t.Fatal(err)
		}
		want(VaultUnreachable)
		if err := vault.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		want(VaultActive, VaultStandby)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("Vault was unsealed after %v", took)
		}
	}
	wantService(t, m)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("KeepUnsealed = %v", err)
	}
}
