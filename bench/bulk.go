package main

import (
	"context"
	"fmt"

	"github.com/atrest/atrest/storage"
)

// bulkPut puts n objects, the first of them number from, in one call. It also fills the
// stores that other comparisons need. No way around storage is quicker: each header
// binds the object's name and its store.
func bulkPut(ctx context.Context, store *storage.Store, from, n int64, name func(int64) string, content func(int64) []byte) error {
	secrets := func(yield func(storage.Secret, error) bool) {
		for i := from; i < from+n; i++ {
			if !yield(storage.Secret{Name: name(i), Content: content(i)}, nil) {
				return
			}
		}
	}
	for info, err := range store.PutMany(ctx, secrets, nil) {
		if err != nil {
			return fmt.Errorf("%s: %w", info.Name, err)
		}
	}
	return nil
}

// importComparisons are the bulk import of small objects into PostgreSQL.
func importComparisons() []comparison {
	return []comparison{{
		name: "import/postgres", unit: perSecond,
		others: []other{{name: "absolute", about: "25,000 objects/s", figure: 25_000}},
		open: func(ctx context.Context, e *env, _ need) (*work, error) {
			p, err := e.open(ctx, "postgres")
			if err != nil {
				return nil, err
			}
			store, err := e.newStore(ctx, p.blobs)
			if err != nil {
				return nil, err
			}
			n, next := e.settings.scaled(100_000, 2_000), int64(0)
			return &work{
				detail: fmt.Sprintf("postgres, %d objects of 1 KiB each time, PutMany", n),
				ours: contender{run: func(ctx context.Context) (int, error) {
					from := next
					next += n
					return int(n), bulkPut(ctx, store, from, n, secretName, secretOf)
				}},
				check: func(ctx context.Context) error { return checkKept(ctx, oursKept{store}, next) },
				close: p.close,
			}, nil
		},
	}}
}
