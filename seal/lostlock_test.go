package seal

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
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
