package transit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/coalesce"
	"github.com/atrest/atrest/internal/vaultclient"
)

const (
	// patience is how long calls wait for the request under way before the
	// next one leaves beside it. A request takes 1 to 10 ms near Vault, and
	// some tens of milliseconds across a region, so what takes longer is
	// stuck: a black-holed connection, or a retry.
	patience = 75 * time.Millisecond

	// near is what a request takes at most, of the last few the fastest, to a Vault whose work
	// and not the way to it takes the time. Of a farther one there are several requests
	// under way, each a quarter of that time after the one before.
	near = 5 * time.Millisecond

	// maxInFlight bounds the requests of a kind under way, and with them what
	// a slow or lost Vault is burdened with. Measured, 4 connections with full
	// batches keep a Vault on two cores busy.
	maxInFlight = 4

	// maxDataKey bounds a data key, and maxContext its context, in bytes. Both
	// are 32 in practice. The limits keep a wrapped key within maxWrapped and
	// a full batch within what Vault accepts.
	maxDataKey = 512
	maxContext = 1024
)

// A Wrapper wraps data keys under one transit key. It holds no resources that
// need closing, and is safe for concurrent use. Printing it, with any verb,
// shows the mount and the name of the key, never a token.
//
// Errors wrap those of package atrest. Any method can return ErrVaultSealed,
// ErrVaultUnavailable, ErrPermission, ErrKeyNotFound, ErrPlaintextConnection
// (where Vault redirects to), and the error of a context that ended.
type Wrapper struct {
	vault    *vaultclient.Client
	log      *slog.Logger
	mount    string
	key      string
	maxBatch int
	encrypts *coalesce.Group[item, string]
	decrypts *coalesce.Group[item, []byte]
}

// Open returns a Wrapper for the transit key that cfg names, having checked
// with Vault that the key is fit for it. Ending ctx later does not disturb the
// Wrapper.
//
// Errors, beside those of every method: atrest.ErrKeyNotFound if there is no
// such key and cfg.CreateKey is not set, atrest.ErrKeyNotDerived,
// atrest.ErrUnsupported for a key of a type that cannot encrypt, and
// atrest.ErrPlaintextConnection, before anything is sent, for an http:// address
// of a host that is neither on this machine nor one of cfg.PlaintextHosts, or that
// would be reached by way of such a proxy.
func Open(ctx context.Context, cfg Config) (*Wrapper, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("transit: %w", err)
	}
	v, err := vaultclient.New(vaultclient.Config{
		Client: cfg.Client, PlaintextHosts: cfg.PlaintextHosts,
		RequestTimeout: cfg.RequestTimeout, MaxTries: cfg.MaxTries, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("transit: %w", err)
	}
	w := &Wrapper{vault: v, log: cfg.Logger, mount: cfg.Mount, key: cfg.Key, maxBatch: cfg.MaxBatch}
	w.encrypts = coalesce.New(coalesce.Config[item, string]{
		Send: w.encrypt, Alone: w.encryptOne, DropIn: item.wipe, DropOut: func(string) {},
		MaxBatch: cfg.MaxBatch, MaxInFlight: maxInFlight, Patience: patience, Near: near,
	})
	w.decrypts = coalesce.New(coalesce.Config[item, []byte]{
		Send: w.decrypt, Alone: w.decryptOne, DropIn: item.wipe, DropOut: vaultclient.Wipe,
		MaxBatch: cfg.MaxBatch, MaxInFlight: maxInFlight, Patience: patience, Near: near,
	})
	if err := w.check(ctx, cfg.CreateKey); err != nil {
		return nil, w.failed("open", err)
	}
	return w, nil
}

// Wrap encrypts dataKey, of 1 to 512 bytes, under the newest version of the
// transit key, bound to keyContext, of 1 to 1,024 bytes. It returns Vault's
// text "vault:vN:BASE64", of at most 1,024 bytes. The caller keeps dataKey and
// may wipe it as soon as Wrap returns.
//
// Repeating a Wrap is safe, and gives another text for the same data key.
func (w *Wrapper) Wrap(ctx context.Context, dataKey, keyContext []byte) (wrapped string, err error) {
	if err := checkSizes(dataKey, keyContext); err != nil {
		return "", w.failed("wrap", err)
	}
	wrapped, err = w.encrypts.Do(ctx, item{
		secret:  bytes.Clone(dataKey), // Wrap may return before the request does
		context: bytes.Clone(keyContext),
	})
	if err != nil {
		return "", w.failed("wrap", err)
	}
	return wrapped, nil
}

// Unwrap returns the data key in wrapped, which only succeeds with the
// keyContext that it was wrapped with. The caller wipes the data key after
// use, and should be able to tell whether it is the right one, as package storage is, should
// something between here and Vault mix up answers.
//
// Errors, beside those of every method: atrest.ErrTampered for a text that is
// not Vault's, was altered, or belongs to another context or transit key;
// atrest.ErrKeyVersionTooOld for a version below the transit key's
// min_decryption_version.
func (w *Wrapper) Unwrap(ctx context.Context, wrapped string, keyContext []byte) (dataKey []byte, err error) {
	if err := checkWrapped(wrapped, keyContext); err != nil {
		return nil, w.failed("unwrap", err)
	}
	dataKey, err = w.decrypts.Do(ctx, item{wrapped: wrapped, context: bytes.Clone(keyContext)})
	if err != nil {
		return nil, w.failed("unwrap", err)
	}
	return dataKey, nil
}

// LatestVersion returns the newest version of the transit key, from 1, which
// is the one that Wrap and RewrapBatch use. It asks Vault each time, and refuses
// as Open does a key that has been replaced by one that is not derived.
func (w *Wrapper) LatestVersion(ctx context.Context) (uint32, error) {
	k, err := w.readKey(ctx)
	if err == nil {
		err = k.fit()
	}
	if err != nil {
		return 0, w.failed("read the latest version", err)
	}
	return k.LatestVersion, nil
}

// Rotate adds a version to the transit key, under which Wrap and RewrapBatch
// work from then on. It is not repeatable and sent only once: after
// atrest.ErrVaultUnavailable or the end of ctx, compare LatestVersion with
// what it was before to find out whether the key was rotated.
func (w *Wrapper) Rotate(ctx context.Context) error {
	if err := w.rotateKey(ctx); err != nil {
		return w.failed("rotate", err)
	}
	return nil
}

// Key returns the mount of the transit engine and the name of the transit key,
// both empty for a nil Wrapper, which is what Open returns with an error.
func (w *Wrapper) Key() (mount, name string) {
	if w == nil {
		return "", ""
	}
	return w.mount, w.key
}

// String names the transit key.
func (w *Wrapper) String() string { return "transit key " + w.mount + "/" + w.key }

// Format writes what String returns, whatever the verb: the fields lead to a
// client, and the client to its token.
func (w *Wrapper) Format(f fmt.State, _ rune) { io.WriteString(f, w.String()) }

func (w *Wrapper) failed(doing string, err error) error {
	for _, ofServer := range []error{
		atrest.ErrVaultUnavailable, atrest.ErrVaultSealed, atrest.ErrPermission, atrest.ErrKeyNotFound,
	} {
		if errors.Is(err, ofServer) { // which one is half of the remedy
			return fmt.Errorf("transit: %s with key %s/%s at %s: %w", doing, w.mount, w.key, w.vault.Addr(), err)
		}
	}
	return fmt.Errorf("transit: %s with key %s/%s: %w", doing, w.mount, w.key, err)
}

func checkSizes(dataKey, keyContext []byte) error {
	if len(dataKey) == 0 {
		return errors.New("the data key is empty")
	}
	if len(dataKey) > maxDataKey {
		return fmt.Errorf("%w: a data key of %d bytes, the limit is %d", atrest.ErrTooLarge, len(dataKey), maxDataKey)
	}
	return checkContext(keyContext)
}

func checkWrapped(wrapped string, keyContext []byte) error {
	if _, err := parseWrapped(wrapped); err != nil {
		return fmt.Errorf("%w (wrapped key %w)", atrest.ErrTampered, err)
	}
	return checkContext(keyContext)
}

// checkContext refuses an empty context because Vault refuses a whole batch in
// which one item has none.
func checkContext(keyContext []byte) error {
	if len(keyContext) == 0 {
		return errors.New("the context is empty")
	}
	if len(keyContext) > maxContext {
		return fmt.Errorf("%w: a context of %d bytes, the limit is %d", atrest.ErrTooLarge, len(keyContext), maxContext)
	}
	return nil
}
