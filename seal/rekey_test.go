package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/vaultclient"
)

// A wire is what requests go through on their way to Vault.
type wire func(r *http.Request, vault http.RoundTripper) (*http.Response, error)

type wireTransport struct {
	wire wire
	next http.RoundTripper
}

func (w wireTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return w.wire(r, w.next)
}

// through starts a process whose requests to Vault go through w.
func (r *rig) through(t *testing.T, w wire) *Manager {
	t.Helper()
	m, _ := r.process(t, -1)
	sendThrough(t, m, w)
	return m
}

func sendThrough(t *testing.T, m *Manager, w wire) {
	t.Helper()
	config := m.cfg.Vault.CloneConfig()
	config.HttpClient.Transport = wireTransport{w, config.HttpClient.Transport}
	client, err := apiClient(config)
	if err != nil {
		t.Fatal(err)
	}
	once, err := vaultclient.New(vaultclient.Config{Client: client, MaxTries: 1})
	if err != nil {
		t.Fatal(err)
	}
	m.cfg.Vault, m.anonymous = client, once.WithToken(func() string { return "" })
}

// mustOpen opens the seal record by the password in m.
func mustOpen(t *testing.T, m *Manager) *sealed {
	t.Helper()
	s, err := m.reopen(t.Context())
	if err != nil || s == nil {
		t.Fatalf("the seal record: %v", err)
	}
	return s
}

// unsaid passes a request on, and takes from the answer that it was the last one needed.
func unsaid(r *http.Request, vault http.RoundTripper) (*http.Response, error) {
	resp, err := vault.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	text = bytes.Replace(text, []byte(`"complete":true`), []byte(`"complete":false`), 1)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return resp, nil
}

// unheard has Vault say how far it is instead of carrying the request out.
func unheard(r *http.Request, vault http.RoundTripper) (*http.Response, error) {
	ask := r.Clone(r.Context())
	ask.Method, ask.Body, ask.GetBody, ask.ContentLength = http.MethodGet, nil, nil, 0
	return vault.RoundTrip(ask)
}

// TestRekeyNeverComplete has Vault not say that it has changed over to the new key, which it
// may have done or not. Both keys stay recorded until it is known which is Vault's.
func TestRekeyNeverComplete(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		verify            wire
		shares, threshold int
		changed           bool
	}{
		"changed over":     {unsaid, 1, 1, true},
		"not changed over": {unheard, 3, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := booted(t, newRig(t))
			m := r.through(t, func(req *http.Request, vault http.RoundTripper) (*http.Response, error) {
				if req.URL.Path == "/v1/sys/rekey/verify" {
					return c.verify(req, vault)
				}
				return vault.RoundTrip(req)
			})
			if err := m.Rekey(t.Context(), c.shares, c.threshold); !errors.Is(err, atrest.ErrVaultUnavailable) {
				t.Errorf("Rekey = %v", err)
			}
			both := mustOpen(t, m)
			if both.pending == nil || both.keys.shares[0].equal(both.pending.shares[0]) {
				t.Fatal("the record has not both keys")
			}
			want := both.keys
			if c.changed {
				want = both.pending
			}
			again, _ := r.process(t, -1)
			mustBoot(t, again, "")
			if s := mustOpen(t, again); s.pending != nil || !s.keys.shares[0].equal(want.shares[0]) {
				t.Error("the record does not have Vault's key alone")
			}
			if err := r.vault.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustBoot(t, again, "")
			wantService(t, again)
		})
	}
}

// unverified is a Vault that does not know of require_verification.
func unverified(r *http.Request, vault http.RoundTripper) (*http.Response, error) {
	if r.URL.Path != "/v1/sys/rekey/init" || r.Method != http.MethodPut {
		return vault.RoundTrip(r)
	}
	var fields map[string]any
	if err := json.NewDecoder(r.Body).Decode(&fields); err != nil {
		return nil, err
	}
	if fields["require_verification"] != true {
		return nil, fmt.Errorf("a rekey without verification was asked for: %v", fields)
	}
	delete(fields, "require_verification")
	body, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body, r.GetBody, r.ContentLength = io.NopCloser(bytes.NewReader(body)), nil, int64(len(body))
	return vault.RoundTrip(r)
}

// TestRekeyWithoutVerification is refused before Vault makes a key, which it would use
// before it is recorded.
func TestRekeyWithoutVerification(t *testing.T) {
	t.Parallel()
	r := booted(t, newRig(t))
	before, err := r.records.GetRecord(t.Context(), sealRecordName)
	if err != nil {
		t.Fatal(err)
	}
	m := r.through(t, unverified)
	if err := m.Rekey(t.Context(), 1, 1); !errors.Is(err, atrest.ErrUnsupported) {
		t.Errorf("Rekey = %v", err)
	}
	after, err := r.records.GetRecord(t.Context(), sealRecordName)
	if err != nil || !bytes.Equal(before.Data, after.Data) {
		t.Errorf("the record was changed, %v", err)
	}
	type state struct {
		Started bool `json:"started"`
	}
	now, _, err := vaultclient.Do[state](t.Context(), m.anonymous, vaultclient.Request{Method: http.MethodGet, Path: "sys/rekey/init"})
	if err != nil || now == nil || now.Started {
		t.Errorf("the rekey goes on: %+v, %v", now, err)
	}
	if err := r.vault.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustBoot(t, m, "")
	wantService(t, m)
}
