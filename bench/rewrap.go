package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
)

const (
	// rewrapBatch and rewrapInFlight are those of storage.Rewrap.
	rewrapBatch    = 1000
	rewrapInFlight = 4

	// reencryptCallers get and put at the same time.
	reencryptCallers = 64
)

// rewrapComparisons are the rewrap of all objects of a store in PostgreSQL, after
// a rotation of the transit key. Each round rotates the key again, and vacuums
// the table, which is not timed.
func rewrapComparisons() []comparison {
	return []comparison{
		{
			name: "rewrap/1KiB", unit: perSecond,
			others: []other{
				{name: "absolute", about: "20,000 objects/s", figure: 20_000},
				{name: "vault", about: "Vault's batch rewrap alone, as many items and requests at once"},
				{name: "reencrypt", about: fmt.Sprintf("get and put of a sample, %d at once", reencryptCallers)},
			},
			open: openRewrap,
		},
		{
			name: "rewrap/64KiB", unit: perSecond,
			others: []other{{name: "1KiB", about: "the rewrap of as many objects of 1 KiB"}},
			open:   openRewrapSizes,
		},
	}
}

// rewrappable is a store in PostgreSQL with a transit key of its own.
type rewrappable struct {
	keys  *transit.Wrapper
	store *storage.Store
	pool  *pgxpool.Pool
	place *place
	size  int // of an object, in bytes
	n     int64
}

// newRewrappable puts n objects of some size.
func newRewrappable(ctx context.Context, e *env, n int64, size int) (*rewrappable, error) {
	keys, err := e.newWrapper(ctx, "")
	if err != nil {
		return nil, err
	}
	p, err := e.openPostgres(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := e.pool(ctx)
	if err != nil {
		return nil, err
	}
	store, err := storage.New(storage.Config{ID: "bench", Backend: p.blobs, Keys: keys})
	if err != nil {
		return nil, err
	}
	r := &rewrappable{keys: keys, store: store, pool: pool, place: p, size: size, n: n}
	return r, bulkPut(ctx, store, 0, n, secretName, r.content)
}

// content is the secret i, repeated.
func (r *rewrappable) content(i int64) []byte {
	return []byte(strings.Repeat(string(secretOf(i)), r.size/secretSize))
}

// rewrap is the contender that rewraps all objects.
func (r *rewrappable) rewrap() contender {
	return contender{
		prepare: func(ctx context.Context) error {
			return errors.Join(r.keys.Rotate(ctx), execute(ctx, r.pool, "VACUUM "+r.place.schema+".objects", "CHECKPOINT"))
		},
		run: func(ctx context.Context) (int, error) {
			progress, err := r.store.Rewrap(ctx, &storage.RewrapOptions{Concurrency: rewrapInFlight})
			if err == nil && progress.Rewrapped != r.n {
				err = fmt.Errorf("%d objects of %d were rewrapped", progress.Rewrapped, r.n)
			}
			return int(progress.Rewrapped), err
		},
		cold: true,
	}
}

// check looks whether all objects are there, under the newest version, and
// whether some of them are right.
func (r *rewrappable) check(ctx context.Context) error {
	latest, err := r.keys.LatestVersion(ctx)
	if err != nil {
		return err
	}
	var n int64
	for entry, err := range r.store.List(ctx, nil) {
		if err != nil {
			return err
		}
		if entry.KeyVersion != latest {
			return fmt.Errorf("%s is under version %d, not %d", entry.Name, entry.KeyVersion, latest)
		}
		n++
	}
	if n != r.n {
		return fmt.Errorf("%d objects are there, of %d", n, r.n)
	}
	for i := int64(0); i < r.n; i += max(r.n/64, 1) {
		secret, _, err := r.store.GetBytes(ctx, secretName(i))
		if err != nil {
			return err
		}
		if string(secret) != string(r.content(i)) {
			return fmt.Errorf("%s is not what was put", secretName(i))
		}
	}
	return nil
}

func openRewrap(ctx context.Context, e *env, need need) (*work, error) {
	r, err := newRewrappable(ctx, e, e.settings.scaled(1_000_000, 5_000), secretSize)
	if err != nil {
		return nil, err
	}
	sample := min(r.n, e.settings.scaled(20_000, 500))
	w := &work{
		detail: fmt.Sprintf("postgres, %d objects of 1 KiB", r.n),
		ours:   r.rewrap(), others: make(map[string]contender), close: r.place.close,
	}
	// Last, so that a put under way leaves nothing under an old version.
	w.check = func(ctx context.Context) error {
		if _, err := r.store.Rewrap(ctx, nil); err != nil {
			return err
		}
		return r.check(ctx)
	}
	if need["reencrypt"] {
		w.others["reencrypt"] = contender{run: func(ctx context.Context) (int, error) {
			return int(sample), together(ctx, reencryptCallers, sample, func(ctx context.Context, i int64) error {
				secret, err := oursKept{r.store}.get(ctx, secretName(i))
				if err != nil {
					return err
				}
				return oursKept{r.store}.put(ctx, secretName(i), secret)
			})
		}}
	}
	if need["vault"] {
		if w.others["vault"], err = bareRewrap(ctx, e, min(r.n, e.settings.scaled(100_000, 5_000))); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// openRewrapSizes compares objects of two sizes.
func openRewrapSizes(ctx context.Context, e *env, need need) (*work, error) {
	n := e.settings.scaled(20_000, 1_000)
	large, err := newRewrappable(ctx, e, n, 64<<10)
	if err != nil {
		return nil, err
	}
	small, err := newRewrappable(ctx, e, n, secretSize)
	if err != nil {
		return nil, err
	}
	return &work{
		detail: fmt.Sprintf("postgres, %d objects", n),
		ours:   large.rewrap(), others: map[string]contender{"1KiB": small.rewrap()},
		check: func(ctx context.Context) error { return errors.Join(large.check(ctx), small.check(ctx)) },
		close: func() error { return errors.Join(large.place.close(), small.place.close()) },
	}, nil
}

// bareRewrap is what Vault does of a rewrap: n wrapped keys, in batches.
func bareRewrap(ctx context.Context, e *env, n int64) (contender, error) {
	client, err := e.client(ctx, "")
	if err != nil {
		return contender{}, err
	}
	keys, err := e.newWrapper(ctx, "")
	if err != nil {
		return contender{}, err
	}
	_, key := keys.Key()
	v := &vaultBatches{client: client, key: key}
	items := make([]map[string]any, n)
	for i := range items {
		items[i] = map[string]any{
			"plaintext": base64.StdEncoding.EncodeToString(secretOf(int64(i))[:32]),
			"context":   base64.StdEncoding.EncodeToString(noise(32)),
		}
	}
	// What encrypt answers is what rewrap is asked.
	if err := v.all(ctx, "encrypt", items); err != nil {
		return contender{}, err
	}
	return contender{
		prepare: keys.Rotate,
		run: func(ctx context.Context) (int, error) {
			return len(items), v.all(ctx, "rewrap", items)
		},
	}, nil
}

// vaultBatches makes transit requests of many items.
type vaultBatches struct {
	client *api.Client
	key    string
}

// all sends all items, as many requests at a time as a rewrap does, and puts the
// ciphertexts of the answers into the items.
func (v *vaultBatches) all(ctx context.Context, operation string, items []map[string]any) error {
	batches := (len(items) + rewrapBatch - 1) / rewrapBatch
	return together(ctx, rewrapInFlight, int64(batches), func(ctx context.Context, i int64) error {
		from := int(i) * rewrapBatch
		return v.one(ctx, operation, items[from:min(from+rewrapBatch, len(items))])
	})
}

func (v *vaultBatches) one(ctx context.Context, operation string, items []map[string]any) error {
	answer, err := v.client.Logical().WriteWithContext(ctx, transitMount+"/"+operation+"/"+v.key, map[string]any{"batch_input": items})
	if err != nil {
		return err
	}
	results, _ := answer.Data["batch_results"].([]any)
	if len(results) != len(items) {
		return fmt.Errorf("%d results for %d items", len(results), len(items))
	}
	for i, result := range results {
		fields, _ := result.(map[string]any)
		text, _ := fields["ciphertext"].(string)
		if !strings.HasPrefix(text, "vault:v") {
			return errors.New("no ciphertext for an item")
		}
		items[i]["ciphertext"] = text
		delete(items[i], "plaintext")
	}
	return nil
}
