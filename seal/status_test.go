package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/internal/devvault"
	"github.com/atrest/atrest/internal/vaultclient"
)

// A home is a node whose parts a test breaks one by one.
type home struct {
	*Manager
	server  *devvault.Server
	records *memory.Records
	keyFile string
}

func newHome(t *testing.T) *home {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	h := &home{server: bareVault(t), records: memory.NewRecords(), keyFile: filepath.Join(dir, "key")}
	if err := CreateKeyFile(h.keyFile); err != nil {
		t.Fatal(err)
	}
	h.Manager = newNode(t, h.server, h.records, func(c *Config) { c.InstanceKey = KeyFile(h.keyFile) })
	return h
}

func (h *home) want(t *testing.T, what string, link Link, sentinel error) {
	t.Helper()
	s := h.Status(t.Context())
	if s.Broken != link || !errors.Is(s.Err, sentinel) || (link == "") != (s.Remedy == "") {
		t.Errorf("%s: broken at %q, %v, remedy %q; want %q, %v", what, s.Broken, s.Err, s.Remedy, link, sentinel)
	}
	if s.Vault == "" || strings.Contains(s.String(), "\n") {
		t.Errorf("%s: vault is %q, as a line: %q", what, s.Vault, s)
	}
	for _, form := range []string{s.String(), fmt.Sprintf("%+v %#v", s, s)} {
		if strings.Contains(form, testPassword) || strings.Contains(form, "hvs.") {
			t.Errorf("%s: it shows a secret: %s", what, form)
		}
	}
}

// wantVault looks at what Status says of Vault, and whether it warns of restarting it.
func (h *home) wantVault(t *testing.T, what string, state VaultState, warns bool) {
	t.Helper()
	if s := h.Status(t.Context()); s.Vault != state || strings.Contains(s.Remedy, "must not be restarted") != warns {
		t.Errorf("%s: vault is %s, the remedy %q", what, s.Vault, s.Remedy)
	}
}

// setRecord replaces the seal record, by whatever means.
func (h *home) setRecord(t *testing.T, data []byte) {
	t.Helper()
	now, err := h.records.GetRecord(t.Context(), sealRecordName)
	if err != nil && !errors.Is(err, atrest.ErrNotFound) {
		t.Fatal(err)
	}
	if data == nil {
		err = h.records.DeleteRecord(t.Context(), sealRecordName, now.Revision)
	} else {
		_, err = h.records.PutRecord(t.Context(), sealRecordName, data, now.Revision)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (h *home) record(t *testing.T) backend.Record {
	t.Helper()
	r, err := h.records.GetRecord(t.Context(), sealRecordName)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestStatus breaks each link, and mends it.
func TestStatus(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.want(t, "before the first boot", LinkPasswordFile, atrest.ErrPasswordMissing)
	h.wantVault(t, "before the first boot", VaultUninitialised, false)
	mustBoot(t, h.Manager, testPassword)
	h.want(t, "well", "", nil)

	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	// The instance key.
	must(os.Chmod(h.keyFile, 0o440))
	h.want(t, "readable by its group", LinkInstanceKey, atrest.ErrUnsafePermissions)
	h.wantVault(t, "readable by its group", VaultActive, false)
	must(os.Chmod(h.keyFile, 0o400), os.Rename(h.keyFile, h.keyFile+".away"))
	h.want(t, "no instance key", LinkInstanceKey, atrest.ErrInstanceKeyMissing)
	must(os.Symlink(h.keyFile+".away", h.keyFile))
	h.want(t, "a symbolic link", LinkInstanceKey, atrest.ErrUnsafePermissions)
	must(os.Remove(h.keyFile), CreateKeyFile(h.keyFile))
	h.want(t, "another instance key", LinkPasswordFile, atrest.ErrWrongInstanceKey)
	must(os.Rename(h.keyFile+".away", h.keyFile))

	// The password file.
	path := h.cfg.PasswordFile
	text, err := os.ReadFile(path)
	must(err, os.Rename(path, path+".away"))
	h.want(t, "no password file", LinkPasswordFile, atrest.ErrPasswordMissing)
	must(os.WriteFile(path, text[:len(text)-2], 0o600))
	h.want(t, "a damaged password file", LinkPasswordFile, atrest.ErrCorruptRecord)
	if got := h.Status(t.Context()).Remedy; !strings.HasPrefix(got, "boot with the Encryption Password") {
		t.Errorf("a damaged password file: no instance key opens it, but the remedy is %q", got)
	}
	must(os.Rename(path+".away", path), os.Chmod(path, 0o644))
	h.want(t, "a password file that others read", LinkPasswordFile, atrest.ErrUnsafePermissions)
	if got := h.Status(t.Context()).String(); strings.Count(got, "chmod") != 1 || !strings.Contains(got, "chmod 0600") {
		t.Errorf("a password file that others read: %s", got)
	}
	must(os.Chmod(path, 0o600))

	// The record.
	record := h.record(t)
	h.setRecord(t, nil)
	h.want(t, "no record", LinkRecord, atrest.ErrRecordMissing)
	h.wantVault(t, "no record", VaultActive, true)
	if err := h.Boot(t.Context(), nil); !errors.Is(err, atrest.ErrRecordMissing) {
		t.Errorf("a boot without a record: %v", err)
	}
	h.setRecord(t, record.Data[:100])
	h.want(t, "a damaged record", LinkRecord, atrest.ErrCorruptRecord)
	flipped := bytes.Clone(record.Data)
	if c := &flipped[len(flipped)-9]; *c == 'A' { // one letter of base64 becomes another
		*c = 'B'
	} else {
		*c = 'A'
	}
	h.setRecord(t, flipped)
	h.want(t, "a forged record", LinkPassword, atrest.ErrWrongPassword)
	other := newHome(t)
	mustBoot(t, other.Manager, testPassword)
	h.setRecord(t, other.record(t).Data)
	h.want(t, "a record of another installation", LinkPassword, atrest.ErrOtherInstallation)
	h.setRecord(t, record.Data)

	// The password: another node changes it.
	elsewhere := newNode(t, h.server, h.records)
	mustBoot(t, elsewhere, testPassword)
	must(elsewhere.ChangePassword(t.Context(), []byte("another password altogether")))
	h.want(t, "a password of before", LinkPassword, atrest.ErrStalePassword)
	h.wantVault(t, "a password of before", VaultActive, true)
	must(h.Adopt(t.Context(), []byte("another password altogether")))
	h.want(t, "adopted", "", nil)

	// Vault.
	must(h.server.Kill())
	h.want(t, "no Vault", LinkVault, atrest.ErrVaultUnavailable)
	record = h.record(t)
	h.setRecord(t, nil)
	h.wantVault(t, "neither Vault nor a record", VaultUnreachable, false)
	must(h.server.Restart(t.Context()))
	h.wantVault(t, "a sealed Vault and no record", VaultSealed, false)
	h.setRecord(t, record.Data)
	h.want(t, "a sealed Vault", LinkUnsealed, atrest.ErrVaultSealed)
	mustBoot(t, h.Manager, "")
	h.want(t, "unsealed", "", nil)

	// What is in Vault.
	root := func(f func(ctx context.Context, root *vaultclient.Client) error) {
		t.Helper()
		must(h.asRoot(t.Context(), "test", f))
	}
	root(func(ctx context.Context, root *vaultclient.Client) error {
		return h.write(ctx, root, "sys/policies/acl/atrest", map[string]string{"policy": `path "transit/keys/atrest" { capabilities = ["read"] }`})
	})
	h.want(t, "a narrow policy", LinkPolicy, atrest.ErrPermission)
	if err := h.Status(t.Context()).Err; !strings.Contains(err.Error(), "transit/encrypt/atrest") || !strings.Contains(err.Error(), "transit/rewrap/atrest") {
		t.Errorf("not all that is missing: %v", err)
	}
	root(h.writePolicy)
	root(func(ctx context.Context, root *vaultclient.Client) error { return h.destroyOtherSecretIDs(ctx, root) })
	h.want(t, "no secret id", LinkLogin, atrest.ErrPermission)
	must(h.RotateSecretID(t.Context()))
	h.want(t, "a new secret id", "", nil)
	root(func(ctx context.Context, root *vaultclient.Client) error {
		return errors.Join(h.write(ctx, root, "transit/keys/atrest/config", map[string]bool{"deletion_allowed": true}), deletePath(ctx, root, "transit/keys/atrest"))
	})
	h.want(t, "no transit key", LinkTransitKey, atrest.ErrKeyNotFound)
	root(func(ctx context.Context, root *vaultclient.Client) error {
		return h.write(ctx, root, "transit/keys/atrest", map[string]string{"type": "aes256-gcm96"})
	})
	h.want(t, "a transit key that is not derived", LinkTransitKey, atrest.ErrKeyNotDerived)
}

// TestStatusOfAVaultThatHangs: what Status asks besides may take its time, and no longer.
func TestStatusOfAVaultThatHangs(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, and nobody answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	client, err := apiClient(&api.Config{Address: "http://" + listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(Config{Vault: client, Records: memory.NewRecords(), InstanceKey: fixedKey(1), PasswordFile: filepath.Join(t.TempDir(), "password")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	start := time.Now()
	s := m.Status(t.Context())
	if took := time.Since(start); s.Broken != LinkPasswordFile || s.Vault != VaultUnreachable || took < keepTimeout || took > 2*keepTimeout {
		t.Errorf("%+v after %s", s, took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s := m.Status(ctx); s.Vault != "" {
		t.Errorf("nobody was asked, and vault is %q", s.Vault)
	}
}

func TestStatusIsOneLine(t *testing.T) {
	for want, s := range map[string]Status{
		"broken at the vault: unreachable; 1 error occurred:; * no route; start it": {Broken: LinkVault, Remedy: "start it",
			Err: errors.Join(errors.New("unreachable"), errors.New("1 error occurred:\n\t* no route\r\n\n"))},
		"installation i: works, but 1 share of the unseal key can't be read: see to the databases in Config.ShareRecords; if one is lost, put another in its place there, and Rekey":  {Installation: "i", LostShares: 1},
		"installation i: works, but 2 shares of the unseal key can't be read: see to the databases in Config.ShareRecords; if one is lost, put another in its place there, and Rekey": {Installation: "i", LostShares: 2},
		"installation i: all is well (password generation 3, vault active, transit key version 2)":                                                                                    {Installation: "i", Generation: 3, Vault: VaultActive, KeyVersion: 2},
	} {
		if got := s.String(); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func deletePath(ctx context.Context, c *vaultclient.Client, path string) error {
	_, _, err := vaultclient.Do[struct{}](ctx, c, vaultclient.Request{Method: http.MethodDelete, Path: path})
	return err
}

// TestStatusOfCredential is of a node whose instance key systemd passes to it.
func TestStatusOfCredential(t *testing.T) {
	dir := privateDir(t)
	t.Setenv(credentialsDirectory, dir)
	file := filepath.Join(dir, "instance-key")
	mustWrite(t, file, keyText, 0o440) // systemd may let the group read it
	h := &home{server: bareVault(t), records: memory.NewRecords(), keyFile: file}
	h.Manager = newNode(t, h.server, h.records, func(c *Config) { c.InstanceKey = Credential("instance-key") })
	mustBoot(t, h.Manager, testPassword)
	h.want(t, "a credential", "", nil)

	lost := func(what string) {
		t.Helper()
		h.want(t, what, LinkInstanceKey, atrest.ErrInstanceKeyMissing)
		if got := h.Status(t.Context()).Remedy; !strings.Contains(got, "put the instance key back") {
			t.Errorf("%s: the remedy is %q", what, got)
		}
	}
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	lost("no such credential")
	if err := os.Rename(file+".away", file); err != nil {
		t.Fatal(err)
	}
	t.Setenv(credentialsDirectory, "")
	lost("not started by systemd")
	t.Setenv(credentialsDirectory, dir)
	h.want(t, "passed again", "", nil)
}

// TestMixedRestore has the record of one installation's life meet the storage of
// another.
func TestMixedRestore(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	mustBoot(t, h.Manager, testPassword)
	old := h.record(t)
	if err := h.Rekey(t.Context(), 1, 1); err != nil {
		t.Fatal(err)
	}
	h.setRecord(t, old.Data)
	if err := h.server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.Boot(t.Context(), nil); !errors.Is(err, atrest.ErrWrongUnsealKey) {
		t.Errorf("boot: %v", err)
	}
	h.want(t, "a record of before a rekey", LinkUnsealed, atrest.ErrWrongUnsealKey)
}

// TestSomebodyElsesVault is one that is initialised, while there is no record.
func TestSomebodyElsesVault(t *testing.T) {
	t.Parallel()
	vault := devvault.StartForTest(t)
	records := memory.NewRecords()
	m := newNode(t, vault, records)
	if err := m.Boot(t.Context(), []byte(testPassword)); !errors.Is(err, atrest.ErrAlreadyInitialized) {
		t.Errorf("%v", err)
	}
	for name, err := range records.ListRecords(t.Context(), "") {
		t.Errorf("a record was made: %q, %v", name, err)
	}
	if _, err := os.Stat(m.cfg.PasswordFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a password file was made: %v", err)
	}
}
