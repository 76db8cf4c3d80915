package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/atrest/atrest/storage"
)

// rangeLength is how much is read somewhere in a large object, in bytes.
const rangeLength = 4096

// rangeOthers say what the plain way is on each engine.
var rangeOthers = map[string]string{
	"disk":     "open and pread",
	"postgres": "substring of one chunk's row",
	"s3":       "GetObject of a range",
}

// rangeComparisons are reads of 4 KiB at a random place of a large object, by one
// caller. Ours asks Vault for the data key each time, unless it is kept in a cache.
func rangeComparisons() []comparison {
	return append(rangesOf("range/", func(l *largeObjects) *storage.Store { return l.store }),
		rangesOf("range-cached/", func(l *largeObjects) *storage.Store { return l.cached })...)
}

func rangesOf(family string, store func(*largeObjects) *storage.Store) []comparison {
	var all []comparison
	for _, engine := range largeEngines {
		all = append(all, comparison{
			name: family + engine, unit: micros,
			others: []other{{name: "plain", about: rangeOthers[engine]}},
			open: func(ctx context.Context, e *env, _ need) (*work, error) {
				l, err := e.large(ctx, engine)
				if err != nil {
					return nil, err
				}
				if err := l.fill(ctx); err != nil {
					return nil, err
				}
				return &work{
					detail: fmt.Sprintf("%s, %d B of %d MiB", l.label, rangeLength, l.src.size>>20),
					ours: l.ranges(e.settings, func(ctx context.Context, offset, length int64) ([]byte, error) {
						return getRange(ctx, store(l), offset, length)
					}),
					others: map[string]contender{"plain": l.ranges(e.settings, l.plain.getRange)},
				}, nil
			},
		})
	}
	return all
}

func getRange(ctx context.Context, store *storage.Store, offset, length int64) ([]byte, error) {
	r, err := store.GetRange(ctx, largeName, offset, length)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// ranges reads parts and compares them.
func (l *largeObjects) ranges(s settings, get func(ctx context.Context, offset, length int64) ([]byte, error)) contender {
	c := &crowd{callers: 1, target: s.target(), op: func(ctx context.Context, _ int64) error {
		offset := rand.Int64N(l.src.size - rangeLength)
		part, err := get(ctx, offset, rangeLength)
		if err == nil && (len(part) != rangeLength || !l.src.equal(part, offset)) {
			err = fmt.Errorf("what came back at %d is not what was put there", offset)
		}
		return err
	}}
	return contender{run: c.run}
}
