package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
)

// secretSize is a small object, in bytes.
const secretSize = 1024

// crowdSizes are how many callers there are at once.
var crowdSizes = []int{1, 8, 64, manyCallers}

// smallOthers are what ours is compared with, each over the same kind of engine.
var smallOthers = []other{
	{name: "naive", about: "AES-GCM here, one transit call a data key, a plain write or read"},
	{name: "gocloud", about: "gocloud.dev/secrets/hashivault, a plain write or read"},
	{name: "bare", about: "a plain write or read, no encryption"},
}

// smallComparisons are puts and gets of 1 KiB on each engine. Puts are of names
// that are not there yet. A single caller's are compared by the time that one
// takes.
func smallComparisons(s settings) []comparison {
	var all []comparison
	for _, engine := range engineNames {
		for _, operation := range smallOperations() {
			for _, callers := range crowdSizes {
				c := comparison{
					name: "small/" + operation + "/" + engine + "/" + strconv.Itoa(callers), unit: perSecond, others: smallOthers,
				}
				if callers == 1 {
					c.unit = micros
				}
				if callers != 1 && callers != 64 { // There are no goals for these.
					c.rounds = s.fewRounds()
				}
				c.open = func(ctx context.Context, e *env, need need) (*work, error) {
					return openSmall(ctx, e, need, engine, operation, callers)
				}
				all = append(all, c)
			}
		}
	}
	return all
}

func smallOperations() []string { return []string{"put", "get", "get-cached"} }

func openSmall(ctx context.Context, e *env, need need, engine, operation string, callers int) (*work, error) {
	p, err := e.open(ctx, engine)
	if err != nil {
		return nil, err
	}
	ours, others, err := e.keepings(ctx, p, operation == "get-cached", need)
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	w := &work{detail: e.label(engine) + ", 1 KiB, " + strconv.Itoa(callers) + " at once", others: make(map[string]contender), close: p.close}
	if engine == "postgres" {
		w.detail += fmt.Sprintf(", %d connections", poolSize)
	}
	all := maps.Clone(others)
	all[oursName] = ours
	var checks []func(context.Context) error
	for name, k := range all {
		c := &crowd{callers: callers, target: e.settings.target()}
		if operation == "put" {
			c.op = puts(k)
			checks = append(checks, func(ctx context.Context) error { return checkKept(ctx, k, c.next) })
		} else if c.op, err = gets(ctx, k, e.settings.scaled(4096, 64)); err != nil {
			return nil, errors.Join(err, p.close())
		}
		w.others[name] = contender{run: c.run}
	}
	w.ours = w.others[oursName]
	w.check = func(ctx context.Context) error {
		for _, check := range checks {
			if err := check(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	return w, nil
}

// puts puts one secret after the other, each under a name of its own.
func puts(k keeping) func(ctx context.Context, i int64) error {
	return func(ctx context.Context, i int64) error { return k.put(ctx, secretName(i), secretOf(i)) }
}

// gets gets n secrets, over and over, which it has put before, and got once, so that
// every cache there is has them.
func gets(ctx context.Context, k keeping, n int64) (func(ctx context.Context, i int64) error, error) {
	if err := fill(ctx, k, n, 64); err != nil {
		return nil, err
	}
	if err := together(ctx, 64, n, func(ctx context.Context, i int64) error { return getAndCompare(ctx, k, i) }); err != nil {
		return nil, err
	}
	return func(ctx context.Context, i int64) error { return getAndCompare(ctx, k, i%n) }, nil
}

// fill puts the secrets 0 to n-1.
func fill(ctx context.Context, k keeping, n int64, callers int) error {
	return together(ctx, callers, n, func(ctx context.Context, i int64) error {
		return k.put(ctx, secretName(i), secretOf(i))
	})
}

// checkKept looks whether the secrets 0 to n-1 are there and no others, and
// whether some of them are right.
func checkKept(ctx context.Context, k keeping, n int64) error {
	there, err := k.count(ctx)
	if err != nil {
		return err
	}
	if there != n {
		return fmt.Errorf("%d secrets are there, of %d that were put", there, n)
	}
	return together(ctx, 8, min(n, 64), func(ctx context.Context, _ int64) error {
		return getAndCompare(ctx, k, rand.Int64N(n))
	})
}

func getAndCompare(ctx context.Context, k keeping, i int64) error {
	secret, err := k.get(ctx, secretName(i))
	if err != nil {
		return err
	}
	if !bytes.Equal(secret, secretOf(i)) {
		return fmt.Errorf("%s is not what was put", secretName(i))
	}
	return nil
}

func secretName(i int64) string { return fmt.Sprintf("secret-%08d", i) }

var secretNoise = noise(secretSize)

// secretOf is the content of one secret, which no other has.
func secretOf(i int64) []byte {
	secret := bytes.Clone(secretNoise)
	binary.BigEndian.PutUint64(secret, uint64(i))
	return secret
}
