package bench

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/storage"
)

const (
	// callers put at the same time.
	callers = 64
	// secretSize is a small object, in bytes.
	secretSize = 1024
)

// naive is the obvious way to keep secrets: each is encrypted by Vault itself,
// in a request of its own, and what comes back is stored.
type naive struct {
	vault *api.Client
	key   string // of the transit engine, derived
	blobs backend.Blobs
}

// call makes one transit request and returns one field of the answer.
func (n *naive) call(ctx context.Context, operation, name, field string, in map[string]any) (string, error) {
	in["context"] = base64.StdEncoding.EncodeToString([]byte(name))
	secret, err := n.vault.Logical().WriteWithContext(ctx, "transit/"+operation+"/"+n.key, in)
	if err != nil {
		return "", err
	}
	text, ok := secret.Data[field].(string)
	if !ok {
		return "", fmt.Errorf("no %s in Vault's answer", field)
	}
	return text, nil
}

func (n *naive) put(ctx context.Context, name string, secret []byte) error {
	text, err := n.call(ctx, "encrypt", name, "ciphertext",
		map[string]any{"plaintext": base64.StdEncoding.EncodeToString(secret)})
	if err != nil {
		return err
	}
	_, err = n.blobs.Put(ctx, name, nil, bytes.NewReader([]byte(text)), backend.Condition{})
	return err
}

func (n *naive) get(ctx context.Context, name string) ([]byte, error) {
	obj, err := n.blobs.Get(ctx, name, backend.All, "")
	if err != nil {
		return nil, err
	}
	defer obj.Body.Close()
	text, err := io.ReadAll(obj.Body)
	if err != nil {
		return nil, err
	}
	encoded, err := n.call(ctx, "decrypt", name, "plaintext", map[string]any{"ciphertext": string(text)})
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(encoded)
}

// together has each of the callers do work n times, all at the same time, and
// returns an error of one of them.
func together(n int, work func(caller, i int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, callers)
	for caller := range callers {
		wg.Go(func() {
			for i := range n {
				if errs[caller] = work(caller, i); errs[caller] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func objectName(caller, i int) string { return fmt.Sprintf("team-%d/secret-%d", caller, i) }

// BenchmarkConcurrentPuts compares 64 concurrent callers, each putting 1 KiB
// eight times, with the same done naively. All names exist before.
func BenchmarkConcurrentPuts(b *testing.B) {
	const each = 8
	secret := noise(secretSize)
	for _, backend := range backends {
		b.Run(backend.name, func(b *testing.B) {
			keys, _, wire := newKeys(b)
			_, key := keys.Key()
			store := newStore(b, backend.open(b), keys)
			client, _ := newClient(b)
			other := &naive{client, key, backend.open(b)}
			ours := func() error {
				return together(each, func(caller, i int) error {
					_, err := store.PutBytes(b.Context(), objectName(caller, i), secret, nil)
					return err
				})
			}
			theirs := func() error {
				return together(each, func(caller, i int) error {
					return other.put(b.Context(), objectName(caller, i), secret)
				})
			}
			for _, run := range []func() error{ours, theirs} {
				if err := run(); err != nil {
					b.Fatal(err)
				}
			}
			wire.count()
			compare(b, rate{callers * each, "puts/s"}, contender{name: "ours", run: ours}, contender{name: "naive", run: theirs})
			b.ReportMetric(float64(wire.count())/float64(b.N*callers*each), "requests/put")
		})
	}
}

// BenchmarkLone compares one caller's put and get of 1 KiB with the naive way.
func BenchmarkLone(b *testing.B) {
	secret := noise(secretSize)
	for _, backend := range backends {
		keys, client, _ := newKeys(b)
		_, key := keys.Key()
		store := newStore(b, backend.open(b), keys)
		other := &naive{client, key, backend.open(b)}
		b.Run(backend.name+"/put", func(b *testing.B) {
			compare(b, rate{},
				contender{name: "ours", run: func() error { return putBytes(b.Context(), store, "secret", secret) }},
				contender{name: "naive", run: func() error { return other.put(b.Context(), "secret", secret) }},
			)
		})
		b.Run(backend.name+"/get", func(b *testing.B) {
			// -bench may have left the puts out.
			if err := putBytes(b.Context(), store, "secret", secret); err != nil {
				b.Fatal(err)
			}
			if err := other.put(b.Context(), "secret", secret); err != nil {
				b.Fatal(err)
			}
			compare(b, rate{},
				contender{name: "ours", run: func() error { _, _, err := store.GetBytes(b.Context(), "secret"); return err }},
				contender{name: "naive", run: func() error { _, err := other.get(b.Context(), "secret"); return err }},
			)
		})
	}
}

func putBytes(ctx context.Context, store *storage.Store, name string, secret []byte) error {
	_, err := store.PutBytes(ctx, name, secret, nil)
	return err
}
