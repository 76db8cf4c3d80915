package seal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/atrest/atrest"
)

// VaultStorage is where Vault keeps its data, for [Manager.ResetInterrupted].
// VaultTables of backend/postgres is one.
type VaultStorage interface {
	// Wipe removes all of Vault's data if expected says so of the paths at which there
	// is any. Nobody else reads or writes between that question and the end. If expected
	// returns false, nothing is removed and Wipe returns an error.
	Wipe(ctx context.Context, expected func(paths []string) bool) error
}

// ResetInterrupted repairs the one state that Boot can't: Vault was initialised by a run
// that died before it had the answer, so that nobody has the unseal key, and nobody ever
// will. It empties Vault's storage, has Vault restarted, which remembers that it was
// initialised, and boots.
//
// It does so only if the seal record is an intent of this installation, no key that was
// saved unseals Vault, Vault is sealed, and its storage holds what sys/init writes and
// nothing else: no key, no role, no second token. Else it returns an error and changes
// nothing.
//
// restart restarts this node's Vault. The other nodes' must be restarted too.
func (m *Manager) ResetInterrupted(ctx context.Context, storage VaultStorage, restart func(ctx context.Context) error) error {
	err := m.Boot(ctx, nil)
	if !errors.Is(err, atrest.ErrInitInterrupted) {
		return err // nil, too: there is nothing to repair
	}
	if err := m.exclusive(ctx, "reset", func() error { return m.reset(ctx, storage) }); err != nil {
		return err
	}
	if err := restart(ctx); err != nil {
		return fmt.Errorf("seal: reset: vault's storage is empty now, but restarting it failed: restart it and boot: %w", err)
	}
	return m.Boot(ctx, nil)
}

func (m *Manager) reset(ctx context.Context, storage VaultStorage) error {
	locked, unlock, err := m.cfg.Records.LockRecords(ctx, sealRecordName)
	if err != nil {
		return fmt.Errorf("locking the records: %w", err)
	}
	defer unlock()
	s, err := m.reopen(locked)
	if err != nil {
		return err
	}
	defer s.wipeAll()
	if s == nil || s.header.state != stateIntent {
		return fmt.Errorf("%w: another node has gone on meanwhile", atrest.ErrAlreadyInitialized)
	}
	status, err := m.sealStatus(locked)
	if err != nil {
		return err
	}
	if !status.Sealed {
		return fmt.Errorf("%w: it is in use", atrest.ErrAlreadyInitialized)
	}
	// From here on no other run can make this intent a record, and what one has saved of
	// its keys by now is tried first.
	taken, err := m.putIntent(locked, s)
	if err != nil {
		return err
	}
	defer taken.wipeAll()
	if found, err := m.recoverInit(locked, taken); !errors.Is(err, atrest.ErrInitInterrupted) {
		found.wipeAll()
		return errors.Join(err, fmt.Errorf("%w: boot", atrest.ErrConflict))
	}
	m.log.WarnContext(ctx, "emptying the storage of a vault whose initialisation was interrupted", "installation", s.header.install)
	return storage.Wipe(locked, freshlyInitialised)
}

// freshParts are the beginnings of the paths that sys/init writes, as seen with Vault
// 1.13. What a newer version writes beside them makes reset refuse, which is the safe
// mistake.
var freshParts = []string{
	"core/audit", "core/auth", "core/cluster/", "core/hsm/", "core/index-header-hmac-key", "core/keyring", "core/local-audit",
	"core/local-auth", "core/local-mounts", "core/master", "core/mounts", "core/seal-config", "core/shamir-kek", "core/versions/",
	"core/wrapping/jwtkey", "core/leader/", "core/lock", "logical/", "sys/policy/control-group", "sys/policy/default", "sys/policy/response-wrapping",
	"sys/token/accessor/", "sys/token/id/", "sys/token/salt",
}

// freshIdentity are what sys/init writes for the identity engine, below logical/ and
// the engine's id.
var freshIdentity = []string{"casesensitivity", "oidc_provider/assignment/allow_all", "oidc_provider/provider/default", "oidc_tokens/named_keys/default", "oidc_tokens/public_keys/"}

// freshlyInitialised tells whether these are the paths of a Vault of which no more is
// known than that it was initialised: one token, which is the root token that nobody has,
// and no engine that holds anything but what it began with.
func freshlyInitialised(paths []string) bool {
	tokens, engines := 0, map[string]bool{}
	for _, path := range paths {
		if !hasPrefix(path, freshParts) {
			return false
		}
		if strings.HasPrefix(path, "sys/token/id/") {
			tokens++
		}
		if rest, ok := strings.CutPrefix(path, "logical/"); ok {
			id, rest, _ := strings.Cut(rest, "/")
			engines[id] = true
			if !hasPrefix(rest, freshIdentity) {
				return false
			}
		}
	}
	// None at all is what an earlier reset has left that could not say so.
	return len(paths) == 0 || tokens == 1 && len(engines) <= 1
}

func hasPrefix(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool {
		return s == p || strings.HasSuffix(p, "/") && strings.HasPrefix(s, p)
	})
}
