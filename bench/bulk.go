package main

import (
	"context"
	"fmt"

	"github.com/atrest/atrest/storage"
)

// bulkPut puts n objects as fast as the library can, the first of them number
// from. It also fills the stores that other comparisons need.
//
// This is the one place for a call that takes many objects at once, as soon as
// storage has one. Until then it is many callers, who share requests to Vault,
// but not to the backend. No way around storage is quicker: each header binds the
// object's name and its store.
func bulkPut(ctx context.Context, store *storage.Store, from, n int64, name func(int64) string, content func(int64) []byte) error {
	return together(ctx, manyCallers, n, func(ctx context.Context, i int64) error {
		return oursKept{store}.put(ctx, name(from+i), content(from+i))
	})
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
				detail: fmt.Sprintf("postgres, %d objects of 1 KiB each time, %d at once", n, manyCallers),
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
