package seal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/hashicorp/vault/api"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/vaultclient"
)

// ExternalConfig says which Vault to use that somebody else runs and unseals.
type ExternalConfig struct {
	// Vault reaches it. Required. Its address must begin with https:// or be on this
	// machine; its namespace is kept; a token that it has is not used.
	Vault *api.Client

	// Login says as whom. Required.
	Login Login

	// Mount and Key name the transit engine and the transit key, which must exist.
	// Default "transit" and "atrest".
	Mount, Key string

	// Records, if not nil, is the database of this installation: the transit key is
	// marked as its, and one that is another installation's is refused. Two that share a
	// key by accident could not tell each other's data from their own, and one that
	// retires old versions would take the other's data with them. The policy
	// is to be ExternalPolicy then, and Policy without.
	Records backend.Records

	// PlaintextHosts are the hosts, beside this machine, to which http:// is allowed.
	PlaintextHosts []string

	// Logger is told of logins that fail. It never sees a secret. Default: discard.
	Logger *slog.Logger
}

// Format writes which transit key it is, whatever the verb.
func (c ExternalConfig) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "external Vault, transit key %s/%s", cmp.Or(c.Mount, "transit"), cmp.Or(c.Key, "atrest"))
}

// An External is an external Vault to which this process is logged in.
type External struct {
	vault   *api.Client
	session *session
}

// OpenExternal logs in and looks whether everything is there that a service needs: what
// the policy lacks is listed in one error.
//
// Errors: atrest.ErrPermission, for credentials and for the policy; atrest.ErrKeyNotFound,
// atrest.ErrKeyNotDerived; atrest.ErrOtherInstallation for a transit key that is marked as
// another installation's; atrest.ErrVaultUnavailable, atrest.ErrVaultSealed,
// atrest.ErrPlaintextConnection, and those of the records.
func OpenExternal(ctx context.Context, cfg ExternalConfig) (*External, error) {
	cfg.Mount, cfg.Key = cmp.Or(cfg.Mount, "transit"), cmp.Or(cfg.Key, "atrest")
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	switch {
	case cfg.Vault == nil:
		return nil, errors.New("seal: ExternalConfig.Vault is required")
	case cfg.Login.method == nil:
		return nil, errors.New("seal: ExternalConfig.Login is required")
	}
	var err error
	if cfg.Vault, err = ownClient(cfg.Vault); err != nil {
		return nil, fmt.Errorf("seal: external Vault: %w", err)
	}
	client, err := vaultclient.New(vaultclient.Config{Client: cfg.Vault, PlaintextHosts: cfg.PlaintextHosts, Logger: cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("seal: external Vault: %w", err)
	}
	x := &External{cfg.Vault, newSession(client.WithToken(func() string { return "" }), cfg.Logger)}
	if err := x.open(ctx, cfg, client.WithToken(x.session.currentToken)); err != nil {
		x.Close()
		return nil, fmt.Errorf("seal: external Vault: %w", err)
	}
	return x, nil
}

func (x *External) open(ctx context.Context, cfg ExternalConfig, vault *vaultclient.Client) error {
	if err := x.session.use(ctx, cfg.Login.method.copy()); err != nil {
		return err
	}
	if err := checkCapabilities(ctx, vault, capabilitiesOf(cfg.Mount, cfg.Key, cfg.Records != nil)); err != nil {
		return err
	}
	key, err := readTransitKey(ctx, vault, cfg.Mount, cfg.Key)
	if err != nil {
		return err
	}
	if !key.Derived {
		return fmt.Errorf("%w: %s/%s", atrest.ErrKeyNotDerived, cfg.Mount, cfg.Key)
	}
	if cfg.Records == nil {
		return nil
	}
	return claim(ctx, vault, cfg.Records, cfg.Mount, cfg.Key)
}

// Client returns a client that is logged in and stays so, as Manager.Client does.
func (x *External) Client() (*api.Client, error) { return x.session.client(x.vault) }

// Close ends the session. A token that the login has made is revoked, one that it was given
// is not.
func (x *External) Close() { x.session.close() }

// Format names the address, whatever the verb.
func (x *External) Format(f fmt.State, _ rune) { io.WriteString(f, "external Vault") }
