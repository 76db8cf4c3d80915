package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/atrest/atrest/storage"
)

// listed is how many objects a listing yields, however many there are.
const listed = 100

// objectFactors are how many times as many objects, of 1 KiB, as in the smallest
// store: of 10,000, and of 100 if quick.
var objectFactors = map[string][]int64{"postgres": {10, 100}, "disk": {10}}

// byteFactors are how many times as long as the smallest body: of 1 MiB, and of
// 64 KiB if quick. The last is 16 GiB and for -huge only.
var byteFactors = []int64{64, 1024, 16 * 1024}

// growthComparisons are what an operation costs as stores and bodies grow. It is
// ours beside ours: a ratio of 1 means that nothing grows, one of 0.1 that ten
// times as much has to be paid.
func growthComparisons(s settings) []comparison {
	var all []comparison
	for _, engine := range []string{"postgres", "disk"} {
		for _, operation := range []string{"put", "get", "stat", "list"} {
			for _, factor := range objectFactors[engine] {
				all = append(all, comparison{
					name: fmt.Sprintf("growth/objects/%s/%s/x%d", operation, engine, factor), unit: micros,
					others: []other{{name: "x1", about: "the same with fewer objects"}},
					open: func(ctx context.Context, e *env, _ need) (*work, error) {
						return openObjectGrowth(ctx, e, engine, operation, factor)
					},
				})
			}
		}
	}
	for _, operation := range []string{"put", "get"} {
		for _, factor := range byteFactors {
			if factor > 1024 && !s.huge {
				continue
			}
			all = append(all, comparison{
				name: fmt.Sprintf("growth/bytes/%s/disk/x%d", operation, factor), unit: microsMiB, rounds: s.fewRounds(),
				others: []other{{name: "x1", about: "the same with a shorter body"}},
				open: func(ctx context.Context, e *env, _ need) (*work, error) {
					return openByteGrowth(ctx, e, operation, factor)
				},
			})
		}
	}
	return all
}

// A grownStore has n objects of 1 KiB.
type grownStore struct {
	store *storage.Store
	n     int64
}

func grownName(i int64) string { return fmt.Sprintf("group-%06d/secret-%02d", i/listed, i%listed) }

// grown returns a store of n objects, which stays for all comparisons that need
// it.
func (e *env) grown(ctx context.Context, engine string, n int64) (*grownStore, error) {
	key := engine + strconv.FormatInt(n, 10)
	if g := e.stores[key]; g != nil {
		return g, nil
	}
	p, err := e.open(ctx, engine)
	if err != nil {
		return nil, err
	}
	e.onClose(p.close)
	store, err := e.newStore(ctx, p.blobs)
	if err != nil {
		return nil, err
	}
	if err := bulkPut(ctx, store, 0, n, grownName, secretOf); err != nil {
		return nil, err
	}
	if p.schema != "" {
		// So that the planner knows what there is, without waiting for it.
		pool, err := e.pool(ctx)
		if err != nil {
			return nil, err
		}
		if err := execute(ctx, pool, "VACUUM ANALYZE "+p.schema+".objects"); err != nil {
			return nil, err
		}
	}
	if there, err := (oursKept{store}).count(ctx); err != nil || there != n {
		return nil, fmt.Errorf("%d objects are there, of %d that were put: %w", there, n, err)
	}
	g := &grownStore{store, n}
	e.stores[key] = g
	return g, nil
}

// operation does one operation on any of the objects, and leaves as many.
func (g *grownStore) operation(name string) func(ctx context.Context, i int64) error {
	return func(ctx context.Context, _ int64) error {
		i := rand.Int64N(g.n)
		switch name {
		case "put":
			return oursKept{g.store}.put(ctx, grownName(i), secretOf(i))
		case "get":
			secret, err := oursKept{g.store}.get(ctx, grownName(i))
			if err == nil && !bytes.Equal(secret, secretOf(i)) {
				err = fmt.Errorf("%s is not what was put", grownName(i))
			}
			return err
		case "stat":
			info, err := g.store.Stat(ctx, grownName(i))
			if err == nil && info.Size != secretSize {
				err = fmt.Errorf("%s has %d bytes", grownName(i), info.Size)
			}
			return err
		}
		n := 0
		for _, err := range g.store.List(ctx, &storage.ListOptions{Prefix: fmt.Sprintf("group-%06d/", i/listed)}) {
			if err != nil {
				return err
			}
			n++
		}
		if n != listed {
			return fmt.Errorf("%d objects were listed", n)
		}
		return nil
	}
}

func openObjectGrowth(ctx context.Context, e *env, engine, operation string, factor int64) (*work, error) {
	base := e.settings.scaled(10_000, 100)
	w := &work{detail: fmt.Sprintf("%s, %d objects against %d", engine, base*factor, base)}
	if operation == "list" {
		w.detail += fmt.Sprintf(", %d listed", listed)
	}
	var contenders []contender
	for _, n := range []int64{base * factor, base} {
		g, err := e.grown(ctx, engine, n)
		if err != nil {
			return nil, err
		}
		c := &crowd{callers: 1, target: e.settings.target(), op: g.operation(operation)}
		contenders = append(contenders, contender{run: c.run})
	}
	w.ours, w.others = contenders[0], map[string]contender{"x1": contenders[1]}
	return w, nil
}

func openByteGrowth(ctx context.Context, e *env, operation string, factor int64) (*work, error) {
	base := e.settings.scaled(1<<20, 64<<10)
	p, err := e.openDisk(ctx)
	if err != nil {
		return nil, err
	}
	store, err := e.newStore(ctx, p.blobs)
	if err != nil {
		return nil, err
	}
	w := &work{detail: fmt.Sprintf("disk, %d KiB against %d", base*factor>>10, base>>10), close: p.close}
	var contenders []contender
	for _, size := range []int64{base * factor, base} {
		l := &largeObjects{src: newLargeSource(size), store: store}
		name := strconv.FormatInt(size, 10)
		put := func(ctx context.Context, _ int64) error {
			_, err := store.Put(ctx, name, l.src.reader(), nil)
			return err
		}
		get := func(ctx context.Context, _ int64) error {
			c := &checker{s: l.src}
			r, err := store.Get(ctx, name)
			if err != nil {
				return err
			}
			defer r.Close()
			if _, err := r.WriteTo(c); err != nil {
				return err
			}
			return c.end()
		}
		if err := put(ctx, 0); err != nil {
			return nil, err
		}
		c := &crowd{callers: 1, target: e.settings.target(), op: put}
		if operation == "get" {
			c.op = get
		}
		if size >= 256<<20 {
			c.perRun = 1
		}
		contenders = append(contenders, contender{run: c.run, amount: float64(size), cold: c.perRun > 0, verify: func(ctx context.Context) error {
			return get(ctx, 0)
		}})
	}
	w.ours, w.others = contenders[0], map[string]contender{"x1": contenders[1]}
	return w, nil
}
