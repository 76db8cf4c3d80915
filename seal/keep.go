package seal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/vaultclient"
)

// A VaultState is what Vault says of itself.
type VaultState string

// The states of a Vault. Of several nodes of one installation, one is active and the others
// stand by; both are as they should be.
const (
	VaultUnreachable   VaultState = "unreachable"
	VaultUninitialised VaultState = "uninitialised"
	VaultSealed        VaultState = "sealed"
	VaultStandby       VaultState = "standby"
	VaultActive        VaultState = "active"
)

// health is the answer of sys/health.
type health struct {
	Initialized        bool   `json:"initialized"`
	Sealed             bool   `json:"sealed"`
	Standby            bool   `json:"standby"`
	PerformanceStandby bool   `json:"performance_standby"`
	Version            string `json:"version"`
}

// healthStatuses are those that sys/health has beside 200, for a standby, a disaster
// recovery secondary, a performance standby, and one that is not initialised or sealed.
var healthStatuses = []int{http.StatusTooManyRequests, 472, 473, http.StatusNotImplemented, http.StatusServiceUnavailable}

// vaultState asks Vault how it is. The error says why it is unreachable.
func (m *Manager) vaultState(ctx context.Context) (VaultState, error) {
	h, _, err := vaultclient.Do[health](ctx, m.anonymous, vaultclient.Request{
		Method: http.MethodGet, Path: "sys/health", Accept: healthStatuses, Once: true, Timeout: keepTimeout,
	})
	switch {
	case err != nil:
		return VaultUnreachable, err
	case h == nil:
		return VaultUnreachable, vaultclient.Garbage("nothing")
	case !h.Initialized:
		return VaultUninitialised, nil
	case h.Sealed:
		return VaultSealed, nil
	case h.Standby || h.PerformanceStandby:
		return VaultStandby, nil
	}
	return VaultActive, nil
}

const (
	// keepTimeout is how long Vault may take to say how it is.
	keepTimeout = 5 * time.Second

	// maxKeepWait is the longest pause after unsealing has failed again and again.
	maxKeepWait = 30 * time.Second
)

// KeepUnsealed looks at this node's Vault every Config.KeepInterval, and unseals it when it
// is sealed, as it is after each start, until ctx ends, whose error it returns, or the
// Manager is closed. Every node runs it for its own Vault. It logs and counts each change
// of state.
//
// It does not initialise: that is Boot's. What fails is tried again, at growing intervals
// of up to 30 s. A password that was changed elsewhere must be adopted before it can go on.
func (m *Manager) KeepUnsealed(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-m.closed:
			cancel(fmt.Errorf("seal: keep unsealed: %w", errClosed))
		case <-ctx.Done():
		}
	}()
	k := keeper{m: m}
	for {
		wait := k.look(ctx)
		// Half of a fifth each way, so that nodes do not come in step.
		wait += rand.N(wait/5+1) - wait/10
		if sleep(ctx, wait) != nil {
			return context.Cause(ctx)
		}
	}
}

// A keeper is one run of KeepUnsealed.
type keeper struct {
	m        *Manager
	state    VaultState
	failures int
}

// look does what is to be done now, and returns how long to wait before the next look.
func (k *keeper) look(ctx context.Context) time.Duration {
	state, err := k.m.vaultState(ctx)
	if state == VaultSealed {
		if err = k.m.unsealAgain(ctx); err == nil {
			state, err = k.m.vaultState(ctx)
		}
	}
	if ctx.Err() != nil {
		return 0
	}
	if state != k.state || err != nil && k.failures == 0 {
		k.m.report(ctx, state, err)
	}
	k.state = state
	if err == nil || state == VaultUnreachable {
		k.failures = 0
		return k.m.cfg.KeepInterval
	}
	k.failures++
	return min(k.m.cfg.KeepInterval<<min(k.failures, 16), max(maxKeepWait, k.m.cfg.KeepInterval))
}

// unsealAgain unseals Vault by the record as it is now.
func (m *Manager) unsealAgain(ctx context.Context) error {
	err := m.unsealNow(ctx)
	m.count.unsealed(ctx, err)
	return err
}

func (m *Manager) unsealNow(ctx context.Context) error {
	if have, _ := m.hasPassword(); !have {
		s, err := m.open(ctx, nil)
		s.wipeAll()
		if err != nil {
			return err
		}
	}
	s, err := m.reopen(ctx)
	if errors.Is(err, atrest.ErrWrongPassword) {
		// Another process on this machine may have adopted a new one.
		if s, err = m.open(ctx, nil); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	defer s.wipeAll()
	if s == nil || s.header.state != stateReady {
		return fmt.Errorf("%w: boot first", atrest.ErrRecordMissing)
	}
	return m.unseal(ctx, s)
}

// report tells of a new state.
func (m *Manager) report(ctx context.Context, state VaultState, err error) {
	level := slog.LevelInfo
	if err != nil || state == VaultUninitialised {
		level = slog.LevelWarn
	}
	args := []any{"state", string(state)}
	if err != nil {
		args = append(args, "error", err)
	}
	m.log.Log(ctx, level, "state of vault", args...)
	m.count.became(ctx, state)
}

// defaultLeaderTime is how long a Vault may take, once it is unsealed, to become active or
// to find who is: longer than the lock of an active node that has died is honoured.
const defaultLeaderTime = time.Minute

// awaitLeader waits until Vault can serve requests: it is active, or it stands by and
// passes them on to the active node.
func (m *Manager) awaitLeader(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, m.leaderTime, fmt.Errorf("%w: it is unsealed, but no node that is active has answered within %s", atrest.ErrVaultUnavailable, m.leaderTime))
	defer cancel()
	for {
		state, err := m.vaultState(ctx)
		if err == nil && state == VaultStandby {
			if err = m.forwards(ctx); err == nil {
				return nil
			}
		}
		switch {
		case err == nil && state == VaultActive:
			return nil
		case err == nil && state == VaultSealed:
			return atrest.ErrVaultSealed // somebody has sealed it again
		}
		if sleep(ctx, 50*time.Millisecond) != nil {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// forwards returns nil if a Vault that stands by gets an answer from the active one. That it knows
// of one is not enough: it does, for some 15 seconds, also of one that has died. The
// request is one that needs a token, and has none: the refusal is the answer.
func (m *Manager) forwards(ctx context.Context) error {
	_, _, err := vaultclient.Do[struct{}](ctx, m.anonymous, vaultclient.Request{
		Method: http.MethodGet, Path: "auth/token/lookup-self", Once: true, Timeout: keepTimeout,
	})
	if _, refused := errors.AsType[*vaultclient.RefusedError](err); refused || errors.Is(err, atrest.ErrPermission) {
		return nil
	}
	return err
}
