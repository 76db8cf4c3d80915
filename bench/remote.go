package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atrest/atrest/backend/postgres"
	"github.com/atrest/atrest/storage"
)

// remoteCallers put at the same time.
const remoteCallers = 64

// remotes are the servers that may be far away, and by how much a request and
// its answer together take longer.
var remotes = []struct {
	server string
	delay  time.Duration
}{
	{"vault", time.Millisecond}, {"vault", 10 * time.Millisecond},
	{"postgres", time.Millisecond}, {"postgres", 10 * time.Millisecond},
	{"both", time.Millisecond}, {"both", 10 * time.Millisecond},
}

// remoteComparisons are puts into PostgreSQL with one server or both behind a network, on
// both sides by way of proxies, of which some delay.
func remoteComparisons() []comparison {
	var all []comparison
	for _, r := range remotes {
		all = append(all, comparison{
			name: fmt.Sprintf("remote/%s/%s", r.server, r.delay), unit: perSecond,
			others: []other{{name: "0ms", about: "no delay"}},
			open: func(ctx context.Context, e *env, _ need) (*work, error) {
				ours, err := newRemoteStore(ctx, e, r.server, r.delay)
				if err != nil {
					return nil, err
				}
				near, err := newRemoteStore(ctx, e, r.server, 0)
				if err != nil {
					return nil, errors.Join(err, ours.close())
				}
				return &work{
					detail: fmt.Sprintf("postgres, put of 1 KiB, %d at once, %s away from %s", remoteCallers, r.delay, r.server),
					ours:   ours.puts(e.settings),
					others: map[string]contender{"0ms": near.puts(e.settings)},
					check:  func(ctx context.Context) error { return errors.Join(ours.check(ctx), near.check(ctx)) },
					close:  func() error { return errors.Join(ours.close(), near.close()) },
				}, nil
			},
		})
	}
	return all
}

// A remoteStore is a store with proxies before Vault and before PostgreSQL.
type remoteStore struct {
	store   *storage.Store
	crowd   *crowd
	closers []func() error
}

func newRemoteStore(ctx context.Context, e *env, server string, delay time.Duration) (r *remoteStore, err error) {
	r = new(remoteStore)
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	delays := map[string]time.Duration{server: delay}
	if server == "both" {
		delays = map[string]time.Duration{"vault": delay, "postgres": delay}
	}
	vault, err := e.vault(ctx)
	if err != nil {
		return r, err
	}
	before, err := newDelayProxy(hostOf(vault.Addr()), delays["vault"])
	if err != nil {
		return r, err
	}
	r.closers = append(r.closers, before.close)
	keys, err := e.newWrapper(ctx, "http://"+before.addr())
	if err != nil {
		return r, err
	}
	database, err := e.postgres(ctx)
	if err != nil {
		return r, err
	}
	beside, err := newDelayProxy(database.Host(), delays["postgres"])
	if err != nil {
		return r, err
	}
	r.closers = append(r.closers, beside.close)
	pool, err := e.newPool(ctx, beside.addr())
	if err != nil {
		return r, err
	}
	schema := "remote_" + random()
	r.closers = append(r.closers, func() error {
		defer pool.Close()
		return execute(context.Background(), pool, "DROP SCHEMA IF EXISTS "+schema+" CASCADE")
	})
	blobs, err := postgres.New(ctx, postgres.Config{Pool: pool, Schema: schema})
	if err != nil {
		return r, err
	}
	r.store, err = storage.New(storage.Config{ID: "bench", Backend: blobs, Keys: keys})
	return r, err
}

func (r *remoteStore) puts(s settings) contender {
	ours := oursKept{r.store}
	r.crowd = &crowd{callers: remoteCallers, target: s.target(), op: func(ctx context.Context, i int64) error {
		return ours.put(ctx, secretName(i), secretOf(i))
	}}
	return contender{run: r.crowd.run}
}

func (r *remoteStore) check(ctx context.Context) error {
	return checkKept(ctx, oursKept{r.store}, r.crowd.next)
}

func (r *remoteStore) close() error {
	var errs []error
	for i := len(r.closers) - 1; i >= 0; i-- {
		errs = append(errs, r.closers[i]())
	}
	return errors.Join(errs...)
}
