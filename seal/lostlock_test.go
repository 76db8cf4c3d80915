package seal

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/internal/devvault"
)

// lockless are records whose lock everybody has, as two nodes have it when the first one
// has lost it and does not know.
type lockless struct{ backend.Records }

func (lockless) LockRecords(ctx context.Context, _ string) (context.Context, func(), error) {
	return ctx, func() {}, nil
}

// meanwhile does something, once, before a request.
type meanwhile struct {
	next http.RoundTripper
	path string
	do   func()
	once sync.Once
}

func (m *meanwhile) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == m.path {
		m.once.Do(m.do)
	}
	return m.next.RoundTrip(r)
}

// TestRekeyWithoutLock has another node boot in the midst of a rekey. Whoever wins, the
// record unseals Vault.
func TestRekeyWithoutLock(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/v1/sys/rekey/init", "/v1/sys/rekey/update", "/v1/sys/rekey/verify"} {
		vault, records := bareVault(t), lockless{memory.NewRecords()}
		other := newNode(t, vault, records)
		mustBoot(t, other, testPassword)
		client, err := vault.Client()
		if err != nil {
			t.Fatal(err)
		}
		config := client.CloneConfig()
		config.HttpClient.Transport = &meanwhile{next: config.HttpClient.Transport, path: path, do: func() { mustBoot(t, other, "") }}
		m := newNode(t, vault, records, func(c *Config) {
			if c.Vault, err = apiClient(config); err != nil {
				t.Fatal(err)
			}
		})
		mustBoot(t, m, testPassword)
		t.Logf("%s: %v", path, m.Rekey(t.Context(), 1, 1))
		if err := vault.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustBoot(t, other, "")
		wantService(t, other)
	}
}

// flaky are records of which a call fails now and then.
type flaky struct {
	backend.Records
	put func(name string) error
	get func(name string) error
}

func (f *flaky) PutRecord(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error) {
	if err := f.put(name); err != nil {
		return "", err
	}
	return f.Records.PutRecord(ctx, name, data, old)
}

func (f *flaky) GetRecord(ctx context.Context, name string) (backend.Record, error) {
	if err := f.get(name); err != nil {
		return backend.Record{}, err
	}
	return f.Records.GetRecord(ctx, name)
}

// TestSaveGoesOn has the database refuse the unseal key of a new Vault for a while, in ways
// that usually end a call.
func TestSaveGoesOn(t *testing.T) {
	t.Parallel()
	failures := 0
	records := &flaky{Records: memory.NewRecords(), get: func(string) error { return nil }}
	records.put = func(name string) error {
		if name != sealRecordName && failures < 3 {
			failures++
			return atrest.ErrPermission // as a primary that has become a standby
		}
		return nil
	}
	m := newNode(t, bareVault(t), records)
	mustBoot(t, m, testPassword)
	if failures != 3 {
		t.Errorf("%d failures", failures)
	}
}

// TestCandidateOutOfReach must not be taken for one that is not there.
func TestCandidateOutOfReach(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m, _ := r.process(t, -1)
	dead := errors.New("it dies")
	records := &flaky{Records: r.records, get: func(string) error { return nil }}
	promoted := 0
	records.put = func(name string) error {
		if name == sealRecordName {
			if promoted++; promoted > 1 {
				return dead
			}
		}
		return nil
	}
	m.cfg.Records = records
	if err := m.Boot(t.Context(), []byte(testPassword)); !errors.Is(err, dead) {
		t.Fatal(err)
	}
	again, _ := r.process(t, -1)
	again.cfg.Records = &flaky{Records: r.records, put: func(string) error { return nil }, get: func(name string) error {
		if name != sealRecordName {
			return atrest.ErrUnavailable
		}
		return nil
	}}
	err := again.ResetInterrupted(t.Context(), wipeVault(r.vaultDir), r.vault.Restart)
	if !errors.Is(err, atrest.ErrUnavailable) {
		t.Fatalf("ResetInterrupted = %v", err)
	}
	third, _ := r.process(t, -1)
	mustBoot(t, third, testPassword)
	wantService(t, third)
}

// A signal is given once, by closing it, and awaited for some time.
type signal chan struct{}

func (s signal) wait(t *testing.T) {
	select {
	case <-s:
	case <-time.After(20 * time.Second):
		t.Error("the other node never came there")
	}
}

// hookedWipe is a storage with something that happens before it is wiped.
type hookedWipe struct {
	VaultStorage
	before func()
}

func (s hookedWipe) Wipe(ctx context.Context, expected func([]string) bool) error {
	s.before()
	return s.VaultStorage.Wipe(ctx, expected)
}

// hookedLock are records with something that happens before they are locked.
type hookedLock struct {
	backend.Records
	before func()
}

func (r hookedLock) LockRecords(ctx context.Context, name string) (context.Context, func(), error) {
	r.before()
	return r.Records.LockRecords(ctx, name)
}

// TestResetWithoutLock has a node come late with the answer of sys/init, while another one
// takes its key for lost. If it is saved before the other one looks for it, nothing is
// wiped; if it is saved later, it does not become the record's.
func TestResetWithoutLock(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]bool{"before it looks": false, "before it wipes": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resetWithoutLock(t, late)
		})
	}
}

func resetWithoutLock(t *testing.T, late bool) {
	r := newRig(t)
	answered, goesOn, saved, over := make(signal), make(signal), make(signal), make(signal)
	first := r.another(t, &told{
		Records: lockless{r.records},
		put: func(ctx context.Context, name string, data []byte, old backend.Revision) (backend.Revision, error) {
			candidate, promotion := name != sealRecordName, name == sealRecordName && old != ""
			if candidate {
				close(answered)
				goesOn.wait(t)
			}
			revision, err := r.records.PutRecord(ctx, name, data, old)
			if candidate && !late || promotion && late {
				close(saved) // or not, as it should be
				over.wait(t)
			}
			return revision, err
		},
	})
	ended := make(chan error)
	go func() { ended <- first.Boot(t.Context(), []byte(testPassword)) }()
	answered.wait(t)

	letGo := func() {
		close(goesOn)
		saved.wait(t)
	}
	locks, wipes := 0, 0
	other := r.another(t, hookedLock{lockless{r.records}, func() {
		if locks++; locks == 2 && !late { // the first one is Boot's, this is reset's
			letGo()
		}
	}})
	storage := hookedWipe{wipeVault(r.vaultDir), func() {
		if wipes++; late {
			letGo()
		}
	}}
	if err := other.Adopt(t.Context(), []byte(testPassword)); err != nil {
		t.Fatal(err)
	}
	err := other.ResetInterrupted(t.Context(), storage, r.vault.Restart)
	close(over)
	if firstErr := <-ended; !errors.Is(firstErr, atrest.ErrConflict) {
		t.Errorf("the late one: %v", firstErr)
	}
	if late && (err != nil || wipes != 1) || !late && (!errors.Is(err, atrest.ErrConflict) || wipes != 0) {
		t.Errorf("ResetInterrupted = %v, after %d wipes", err, wipes)
	}
	if err := r.vault.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Manager{other, first} {
		mustBoot(t, m, testPassword)
		wantService(t, m)
	}
}

// TestTwoVaultsInitialised gives two nodes answers of sys/init, of which one is of a Vault
// that is no more. The record comes to hold the other one's key, whoever saves first.
func TestTwoVaultsInitialised(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]bool{"the loser saves first": false, "the loser saves last": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			twoVaultsInitialised(t, last)
		})
	}
}

func twoVaultsInitialised(t *testing.T, last bool) {
	r, gone := newRig(t), bareVault(t)
	asked, winnerDone := make(signal), make(signal)
	loser := r.through(t, func(req *http.Request, vault http.RoundTripper) (*http.Response, error) {
		if req.URL.Path == "/v1/sys/init" {
			close(asked)
			if last {
				winnerDone.wait(t)
			}
			req = req.Clone(req.Context())
			req.URL.Host = hostOf(t, gone)
		}
		return vault.RoundTrip(req)
	})
	loserEnded := make(signal)
	var loserErr error
	winner := r.through(t, func(req *http.Request, vault http.RoundTripper) (*http.Response, error) {
		if req.URL.Path == "/v1/sys/init" {
			go func() {
				defer close(loserEnded)
				loserErr = loser.Boot(t.Context(), []byte(testPassword))
			}()
			asked.wait(t)
			resp, err := vault.RoundTrip(req)
			if !last {
				loserEnded.wait(t)
			}
			return resp, err
		}
		return vault.RoundTrip(req)
	})
	winner.cfg.Records, loser.cfg.Records = lockless{r.records}, lockless{r.records}
	err := winner.Boot(t.Context(), []byte(testPassword))
	close(winnerDone)
	loserEnded.wait(t)
	if !errors.Is(err, atrest.ErrConflict) {
		t.Errorf("the one whose intent is no more: %v", err)
	}
	// Who comes last finds the key of the first.
	if interrupted := errors.Is(loserErr, atrest.ErrInitInterrupted); interrupted == last || last && loserErr != nil {
		t.Errorf("the one whose Vault is no more: %v", loserErr)
	}
	if err := r.vault.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	third := r.another(t, r.records)
	mustBoot(t, third, testPassword)
	wantService(t, third)
}

func hostOf(t *testing.T, vault *devvault.Server) string {
	u, err := url.Parse(vault.Addr())
	if err != nil {
		t.Error(err)
		return ""
	}
	return u.Host
}

// TestSettleSecretIDWithoutLock has a rotation go on while another process ends it. The
// one that is recorded in the end works.
func TestSettleSecretIDWithoutLock(t *testing.T) {
	t.Parallel()
	r := booted(t, newRig(t))
	goOn := func() {}
	other := r.through(t, func(req *http.Request, vault http.RoundTripper) (*http.Response, error) {
		if strings.HasSuffix(req.URL.Path, "/secret-id-accessor/destroy") {
			goOn()
		}
		return vault.RoundTrip(req)
	})
	other.cfg.Records = lockless{r.records}
	m, _ := r.process(t, -1)
	puts := 0
	m.cfg.Records = &told{Records: r.records, put: func(ctx context.Context, name string, data []byte, old backend.Revision) (revision backend.Revision, err error) {
		put := sync.OnceFunc(func() { revision, err = r.records.PutRecord(ctx, name, data, old) })
		if puts++; puts == 2 { // of the new one alone
			goOn = put
			if err := other.Boot(t.Context(), nil); err != nil {
				t.Error(err)
			}
		}
		put()
		return revision, err
	}}
	if err := m.RotateSecretID(t.Context()); !errors.Is(err, atrest.ErrConflict) {
		t.Errorf("RotateSecretID = %v", err)
	}
	third, _ := r.process(t, -1)
	mustBoot(t, third, "")
	wantService(t, third)
}
