package seal

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/vaultclient"
)

// A Link is one of the chain, from the instance key to the transit key.
type Link string

// The links, in the order in which Status looks at them.
const (
	LinkInstanceKey  Link = "instance key"
	LinkPasswordFile Link = "password file"
	LinkRecord       Link = "seal record"
	LinkPassword     Link = "encryption password"
	LinkShares       Link = "shares of the unseal key"
	LinkVault        Link = "vault"
	LinkUnsealed     Link = "unsealed vault"
	LinkSetUp        Link = "set-up of vault"
	LinkLogin        Link = "login"
	LinkPolicy       Link = "policy"
	LinkTransitKey   Link = "transit key"
)

// A Status says how an installation is, as this node sees it. It holds no secret.
type Status struct {
	Installation string     // id; "" if not even that is known
	Generation   uint32     // of the Encryption Password, by the seal record
	Vault        VaultState // of this node, wherever the chain breaks; "" if ctx ended before it answered
	KeyVersion   uint32     // newest version of the transit key
	LostShares   int        // of the unseal key, in records of their own, that can't be read now

	// Broken is the first link that does not hold, "" if all do. Err says why, for
	// errors.Is, and Remedy what to do.
	Broken Link
	Err    error
	Remedy string
}

// String is one line for an operator.
func (s Status) String() string {
	switch {
	case s.Broken != "":
		return fmt.Sprintf("broken at the %s: %s; %s", s.Broken, inOneLine(s.Err), s.Remedy)
	case s.LostShares > 0:
		shares := fmt.Sprintf("%d shares", s.LostShares)
		if s.LostShares == 1 {
			shares = "1 share"
		}
		return fmt.Sprintf("installation %s: works, but %s of the unseal key can't be read: see to the databases in Config.ShareRecords; if one is lost, put another in its place there, and Rekey", s.Installation, shares)
	}
	return fmt.Sprintf("installation %s: all is well (password generation %d, vault %s, transit key version %d)", s.Installation, s.Generation, s.Vault, s.KeyVersion)
}

// inOneLine is what the error says, of which errors.Join and Vault make many lines.
func inOneLine(err error) string {
	var parts []string
	for line := range strings.Lines(fmt.Sprint(err)) {
		if line = strings.TrimSpace(line); line != "" {
			parts = append(parts, line)
		}
	}
	return strings.Join(parts, "; ")
}

// Status walks the whole chain and says where it breaks and what to do about it. It changes
// nothing: in particular it does not unseal Vault, and makes no token but one, which it
// revokes. That the unseal key is not this Vault's shows only when that was tried: then it
// says so of the last try.
func (m *Manager) Status(ctx context.Context) Status {
	w := walk{m: m}
	defer func() { w.local.wipe(); w.s.wipeAll() }()
	for _, step := range []struct {
		link Link
		look func(ctx context.Context) error
	}{
		{LinkInstanceKey, w.instanceKey}, {LinkPasswordFile, w.passwordFile}, {LinkRecord, w.sealRecord}, {LinkPassword, w.password}, {LinkShares, w.shares},
		{LinkVault, w.vault}, {LinkUnsealed, w.unsealed}, {LinkSetUp, w.setUp}, {LinkLogin, w.logIn}, {LinkPolicy, w.policy}, {LinkTransitKey, w.transitKey},
	} {
		if err := step.look(ctx); err != nil {
			w.status.Broken, w.status.Err, w.status.Remedy = step.link, err, remedy(step.link, err)
			break
		}
	}
	w.besides(ctx)
	if w.token != nil {
		w.endSession(ctx)
	}
	return w.status
}

// besides asks for the state of a Vault that the walk has not come to: it may serve although
// what it will be unsealed by the next time is broken.
func (w *walk) besides(ctx context.Context) {
	if w.status.Vault != "" {
		return
	}
	state, _ := w.m.vaultState(ctx) // unreachable says enough: another link is the broken one
	if ctx.Err() != nil {
		return
	}
	w.status.Vault = state
	serves := state == VaultActive || state == VaultStandby
	switch w.status.Broken {
	case LinkRecord, LinkPassword, LinkShares:
		if serves {
			w.status.Remedy += stillServes
		}
	}
}

// A walk is one along the chain.
type walk struct {
	m      *Manager
	status Status
	local  *passwordFile
	stored *record
	opener *secret // the one of local's passwords that opens it
	s      *sealed
	token  *secret
	asSelf *vaultclient.Client // as a service
}

func (w *walk) instanceKey(ctx context.Context) error {
	key, err := readInstanceKey(ctx, w.m.cfg.InstanceKey)
	wipe(key)
	return err
}

func (w *walk) passwordFile(ctx context.Context) (err error) {
	if w.local, err = w.m.readLocal(ctx); err == nil {
		w.status.Installation = string(w.local.install)
	}
	return err
}

func (w *walk) sealRecord(ctx context.Context) error {
	stored, err := w.m.cfg.Records.GetRecord(ctx, sealRecordName)
	if errors.Is(err, atrest.ErrNotFound) {
		return atrest.ErrRecordMissing
	}
	if err != nil {
		return err
	}
	r, err := parseRecord(stored.Data)
	if err != nil {
		return err
	}
	w.stored, w.status.Generation = r, r.generation
	w.s = &sealed{revision: stored.Revision, header: r.recordHeader}
	return nil
}

func (w *walk) password(context.Context) error {
	password, err := w.stored.passwordFrom(w.local)
	if err != nil {
		return err
	}
	w.opener = password
	w.s.payload, err = w.stored.open(&w.m.kdf, password)
	return err
}

// shares wants those of the key, or, if a rekey is unfinished, of one of the two.
func (w *walk) shares(ctx context.Context) error {
	var failed error
	for _, keys := range []*unsealKeys{w.s.keys, w.s.pending} {
		if keys == nil {
			continue
		}
		err := w.m.gatherUpTo(ctx, keys, keys.total(), w.opener)
		if err == nil {
			w.status.LostShares += keys.total() - len(keys.shares)
			return nil
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

func (w *walk) vault(ctx context.Context) (err error) {
	w.status.Vault, err = w.m.vaultState(ctx)
	return err
}

func (w *walk) unsealed(context.Context) error {
	switch initialised := w.status.Vault != VaultUninitialised; {
	case w.s.header.state == stateIntent && initialised:
		return atrest.ErrInitInterrupted
	case w.s.header.state == stateIntent:
		return fmt.Errorf("%w: the first boot has not come to its end", atrest.ErrVaultSealed)
	case !initialised:
		return fmt.Errorf("%w: Vault is not initialised, although the seal record holds its unseal key", atrest.ErrWrongUnsealKey)
	case w.status.Vault == VaultSealed:
		if err := w.m.lastUnsealError(); err != nil {
			return err
		}
		return atrest.ErrVaultSealed
	}
	return nil
}

func (w *walk) setUp(context.Context) error {
	if w.s.appRole == nil {
		return fmt.Errorf("%w: the seal record has no AppRole yet", atrest.ErrPermission)
	}
	return nil
}

// logIn makes a token of its own, so that it says whether a login works now.
func (w *walk) logIn(ctx context.Context) error {
	got, err := w.s.appRole.logIn(ctx, w.m.anonymous)
	if err != nil {
		return err
	}
	w.token = got.token
	w.asSelf = w.m.withToken(w.token.bytes())
	return nil
}

func (w *walk) policy(ctx context.Context) error {
	return checkCapabilities(ctx, w.asSelf, capabilitiesOf(w.m.cfg.Mount, w.m.cfg.Key, false))
}

func (w *walk) transitKey(ctx context.Context) error {
	key, err := w.m.readKey(ctx, w.asSelf)
	switch {
	case err != nil:
		return err
	case !key.Derived:
		return atrest.ErrKeyNotDerived
	}
	w.status.KeyVersion = key.LatestVersion
	return nil
}

func (w *walk) endSession(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTimeout)
	defer cancel()
	if _, _, err := vaultclient.Do[struct{}](ctx, w.asSelf, vaultclient.Request{Method: http.MethodPut, Path: "auth/token/revoke-self"}); err != nil {
		w.m.log.WarnContext(ctx, "the token of a status was not revoked, and ends by itself", "error", err)
	}
	w.token.wipe()
}

// checkCapabilities asks Vault what a token may do, and returns one error that lists
// all that is missing.
func checkCapabilities(ctx context.Context, c *vaultclient.Client, grants []grant) error {
	var paths []string
	for _, g := range grants {
		paths = append(paths, g.probe())
	}
	body, err := vaultclient.Body(map[string]any{"paths": paths})
	if err != nil {
		return err
	}
	// Beside one list for each path, the answer has one of all, for a single path.
	a, _, err := vaultclient.Do[vaultclient.Data[map[string][]string]](ctx, c, vaultclient.Request{
		Method: http.MethodPut, Path: "sys/capabilities-self", Capability: "update", Body: body,
	})
	if err != nil {
		return err
	}
	if a == nil {
		return vaultclient.Garbage("no capabilities")
	}
	if lacks := missing(grants, *a.Data); len(lacks) > 0 {
		return fmt.Errorf("%w: the policy must grant %s", atrest.ErrPermission, strings.Join(lacks, ", "))
	}
	return nil
}
