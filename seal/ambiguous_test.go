package seal

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

const nextPassword = "another password altogether"

// told are records that do as they are told instead of what is asked, where put and get are set.
type told struct {
	backend.Records
	put func(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error)
	get func(ctx context.Context, name string) (backend.Record, error)
}

func (r *told) PutRecord(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error) {
	if r.put == nil {
		return r.Records.PutRecord(ctx, name, data, old)
	}
	return r.put(ctx, name, data, old)
}

func (r *told) GetRecord(ctx context.Context, name string) (backend.Record, error) {
	if r.get == nil {
		return r.Records.GetRecord(ctx, name)
	}
	return r.get(ctx, name)
}

// another starts a process of another machine, with these records.
func (r *rig) another(t *testing.T, records backend.Records) *Manager {
	t.Helper()
	m, _ := r.process(t, -1)
	m.cfg.Records, m.cfg.PasswordFile = records, filepath.Join(t.TempDir(), "node", "password")
	return m
}

// A lostWrite is a write of the seal record whose answer is lost.
type lostWrite struct {
	done     bool // it was carried out
	later    bool // it is, once the caller has given up
	blind    int  // as many reads after it fail, too
	givesUp  bool // the caller does so at the first of them
	replaced bool // another node writes before the caller tries again

	want error // nil: the new password is in force, else either is
}

// TestPasswordAnswerLost loses the answer to the write of a new password. The caller is told
// the truth, or that it is unknown; the record is opened by one password, which is on disk.
func TestPasswordAnswerLost(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]lostWrite{
		"done":                 {done: true},
		"not done":             {},
		"done, out of sight":   {done: true, blind: 2},
		"done, gives up":       {done: true, blind: 1, givesUp: true, want: context.Canceled},
		"not done, gives up":   {blind: 1, givesUp: true, want: context.Canceled},
		"done after giving up": {later: true, blind: 1, givesUp: true, want: context.Canceled},
		"done, replaced":       {done: true, blind: 1, replaced: true, want: atrest.ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.check(t)
		})
	}
}

func (c lostWrite) check(t *testing.T) {
	r := booted(t, newRig(t))
	m, _ := r.process(t, -1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tries, blind, late := 0, 0, func() {}
	m.cfg.Records = &told{
		Records: r.records,
		put: func(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error) {
			if tries++; tries > 1 {
				if c.replaced {
					r.writeElsewhere(t)
				}
				return r.records.PutRecord(ctx, name, data, old)
			}
			write := func() {
				if _, err := r.records.PutRecord(t.Context(), name, data, old); err != nil {
					t.Error(err)
				}
			}
			if c.done {
				write()
			}
			if c.later {
				late = write
			}
			blind = c.blind
			return "", atrest.ErrUnavailable
		},
		get: func(ctx context.Context, name string) (backend.Record, error) {
			if blind == 0 {
				return r.records.GetRecord(ctx, name)
			}
			blind--
			if c.givesUp {
				cancel()
			}
			return backend.Record{}, atrest.ErrUnavailable
		},
	}
	err := m.ChangePassword(ctx, []byte(nextPassword))
	if !errors.Is(err, c.want) {
		t.Errorf("ChangePassword = %v, want %v", err, c.want)
	}
	late()
	password := r.onlyPassword(t)
	if changed := password == nextPassword; changed != (c.want == nil || c.done || c.later) {
		t.Errorf("%q opens the record", password)
	}
	again, _ := r.process(t, -1)
	mustBoot(t, again, "")
	// Whatever is done next leaves that password alone on disk.
	if err := again.locked(t.Context(), func(context.Context, *sealed) error { return nil }); err != nil {
		t.Fatal(err)
	}
	local, err := again.readLocal(t.Context())
	if err != nil || local.pending != nil || string(local.password.bytes()) != password {
		t.Errorf("on disk is not %q alone, %v", password, err)
	}
}

// onlyPassword returns the one of two passwords that opens the record.
func (r *rig) onlyPassword(t *testing.T) string {
	t.Helper()
	stored, err := r.records.GetRecord(t.Context(), sealRecordName)
	if err != nil {
		t.Fatal(err)
	}
	record, err := parseRecord(stored.Data)
	if err != nil {
		t.Fatal(err)
	}
	var fit []string
	for _, password := range []string{testPassword, nextPassword} {
		if _, err := record.open(cheapKDF(t), secretOf(password)); err == nil {
			fit = append(fit, password)
		}
	}
	if len(fit) != 1 {
		t.Fatalf("%q open the record", fit)
	}
	return fit[0]
}

// writeElsewhere has a node that knows the new password write the record.
func (r *rig) writeElsewhere(t *testing.T) {
	other := r.another(t, r.records)
	err := other.Adopt(t.Context(), []byte(nextPassword))
	if err == nil {
		_, err = other.putCurrent(t.Context(), mustOpen(t, other))
	}
	if err != nil {
		t.Error(err)
	}
}

// TestPasswordChangesMeanwhile boots another process of the machine while the password is
// being changed. The new one stays on disk, for the change may come to be, and its process
// die before it says so.
func TestPasswordChangesMeanwhile(t *testing.T) {
	t.Parallel()
	r := booted(t, newRig(t))
	m, life := r.process(t, -1)
	other, _ := r.process(t, -1)
	m.cfg.Records = &told{
		Records: r.records,
		put: func(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error) {
			if err := other.Boot(t.Context(), nil); err != nil {
				t.Error(err)
			}
			if _, err := r.records.PutRecord(ctx, name, data, old); err != nil {
				t.Error(err)
			}
			life.left = 0
			return "", errDead
		},
		get: mortalRecords{life, r.records}.GetRecord,
	}
	if err := m.ChangePassword(t.Context(), []byte(nextPassword)); !errors.Is(err, errDead) {
		t.Fatalf("ChangePassword = %v", err)
	}
	if password := r.onlyPassword(t); password != nextPassword {
		t.Errorf("%q opens the record", password)
	}
	again, _ := r.process(t, -1)
	mustBoot(t, again, "")
	wantService(t, again)
}

// lostWipe is a storage that says nothing of its first Wipe, which it does.
type lostWipe struct {
	VaultStorage
	wipes int
}

func (s *lostWipe) Wipe(ctx context.Context, expected func([]string) bool) error {
	err := s.VaultStorage.Wipe(ctx, expected)
	if s.wipes++; s.wipes == 1 && err == nil {
		err = atrest.ErrUnavailable
	}
	return err
}

// interruptedRig is a machine on which sys/init was carried out, and its answer lost.
func interruptedRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	lost := errors.New("the answer is lost")
	first := r.through(t, func(req *http.Request, vault http.RoundTripper) (*http.Response, error) {
		resp, err := vault.RoundTrip(req)
		if err == nil && req.URL.Path == "/v1/sys/init" {
			resp.Body.Close()
			return nil, lost
		}
		return resp, err
	})
	if err := first.Boot(t.Context(), []byte(testPassword)); err == nil {
		t.Fatal("it booted without a key")
	}
	return r
}

// TestWipeAnswerLost empties Vault's storage without knowing. Vault is not restarted then, and
// goes on from memory; the next call does the rest. A key that was saved and that does
// not fit does not stand in the way.
func TestWipeAnswerLost(t *testing.T) {
	t.Parallel()
	r := interruptedRig(t)
	m, _ := r.process(t, -1)
	if err := m.Boot(t.Context(), nil); !errors.Is(err, atrest.ErrInitInterrupted) {
		t.Fatalf("Boot = %v", err)
	}
	stale := mustOpen(t, m)
	stale.attempt = newAttemptID()
	if err := m.putCandidate(t.Context(), stale, &unsealKeys{threshold: 1, shares: []*secret{newSecret(keyOf(7))}}); err != nil {
		t.Fatal(err)
	}
	storage, restarts := &lostWipe{VaultStorage: wipeVault(r.vaultDir)}, 0
	restart := func(ctx context.Context) error {
		restarts++
		return r.vault.Restart(ctx)
	}
	if err := m.ResetInterrupted(t.Context(), storage, restart); !errors.Is(err, atrest.ErrUnavailable) || restarts != 0 {
		t.Fatalf("ResetInterrupted = %v, after %d restarts", err, restarts)
	}
	if err := m.ResetInterrupted(t.Context(), storage, restart); err != nil || storage.wipes != 2 || restarts != 1 {
		t.Fatalf("ResetInterrupted = %v, after %d wipes and %d restarts", err, storage.wipes, restarts)
	}
	wantService(t, m)
}

// halfRotated leaves a rotation when the record has two secret ids.
func (r *rig) halfRotated(t *testing.T) {
	t.Helper()
	m, _ := r.process(t, -1)
	puts := 0
	m.cfg.Records = &told{Records: r.records, put: func(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error) {
		if puts++; puts == 2 { // of the new one alone
			return "", errDead
		}
		return r.records.PutRecord(ctx, name, data, old)
	}}
	if err := m.RotateSecretID(t.Context()); !errors.Is(err, errDead) {
		t.Fatalf("RotateSecretID = %v", err)
	}
	if mustOpen(t, m).nextAppRole == nil {
		t.Fatal("the record has but one secret id")
	}
	m.Close() // the fewer tokens, the fewer steps has what comes next
}

// TestSettleSecretID lets the boot after a rotation that died die at each step of ending it.
func TestSettleSecretID(t *testing.T) {
	t.Parallel()
	r := booted(t, newRig(t))
	first, _ := r.process(t, -1)
	mustBoot(t, first, "")
	old := mustOpen(t, first).appRole.accessor
	first.Close()
	for n := 7; n < 100; n += 2 { // to die after a step is to die before the next one
		r.halfRotated(t)
		what := r.diesBooting(t, n)
		again, _ := r.process(t, -1)
		if err := again.Boot(t.Context(), nil); err != nil {
			t.Fatalf("died %s: %v", what, err)
		}
		wantService(t, again)
		if s := mustOpen(t, again); s.nextAppRole != nil || !s.appRole.accessor.equal(old) {
			t.Errorf("died %s: the record has not the old secret id alone", what)
		}
		again.Close()
		if strings.HasSuffix(what, "/login") {
			return // it has ended before
		}
	}
	t.Error("it never comes to its end")
}

// diesBooting lets a boot die at its n-th step, and tells what that was.
func (r *rig) diesBooting(t *testing.T, n int) string {
	t.Helper()
	m, life := r.process(t, n)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sendThrough(t, m, func(req *http.Request, vault http.RoundTripper) (*http.Response, error) {
		resp, err := vault.RoundTrip(req)
		if errors.Is(err, errDead) {
			cancel() // or it waits for Vault to become active
		}
		return resp, err
	})
	err := m.Boot(ctx, nil)
	dead, what := life.isDead()
	if err == nil || !dead {
		t.Fatalf("it lives: %v", err)
	}
	return what
}

// TestSettleSecretIDUnwritten has the database refuse the record with the old secret id
// alone. Until it has it, the new one works as well.
func TestSettleSecretIDUnwritten(t *testing.T) {
	t.Parallel()
	r := booted(t, newRig(t))
	r.halfRotated(t)
	m, _ := r.process(t, -1)
	m.cfg.Records = &flaky{Records: r.records, put: func(string) error { return atrest.ErrPermission }, get: func(string) error { return nil }}
	if err := m.Boot(t.Context(), nil); !errors.Is(err, atrest.ErrPermission) {
		t.Errorf("Boot = %v", err)
	}
	s := mustOpen(t, m)
	for _, role := range []*appRole{s.appRole, s.nextAppRole} {
		if _, err := role.logIn(t.Context(), m.anonymous); err != nil {
			t.Error(err)
		}
	}
}
