package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/metrics"
	"slices"
	"time"
)

// A sample is what one run of one contender came to.
type sample struct {
	value  float64 // in the comparison's unit
	allocs float64 // of the heap, for each operation
	bytes  float64
	spent  map[string]float64 // processor time, see spent.each
}

// measure opens a comparison, has ours and the others do the work in turns, and
// returns a result for each of the others.
func measure(ctx context.Context, e *env, c comparison) (results []result, err error) {
	need := need{}
	for _, o := range c.others {
		for _, name := range o.contenders() {
			need[name] = true
		}
	}
	w, err := c.open(ctx, e, need)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	if w.close != nil {
		defer func() { err = errors.Join(err, w.close()) }()
	}
	var elsewhere func() (float64, error)
	if c.alone {
		if elsewhere, err = watchElsewhere(); err != nil {
			return nil, err
		}
	}
	samples, err := rounds(ctx, c, w, need, cmp.Or(c.rounds, e.settings.rounds))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	results = evaluate(c, w, samples)
	if elsewhere != nil {
		busy, err := elsewhere()
		if err != nil {
			return nil, err
		}
		for i := range results {
			results[i].Elsewhere = &busy
		}
	}
	if w.check != nil {
		if err := w.check(ctx); err != nil {
			return nil, fmt.Errorf("%s: afterwards: %w", c.name, err)
		}
	}
	return results, nil
}

// oursName is what ours is called among the samples. No other has that name.
const oursName = ""

// rounds runs each contender once a round, in an order that rotates, so that
// whatever else the machine does meets all alike.
func rounds(ctx context.Context, c comparison, w *work, need need, n int) (map[string][]sample, error) {
	type named struct {
		name string
		contender
	}
	all := []named{{oursName, w.ours}}
	for _, o := range c.others {
		for _, name := range o.contenders() {
			if contender, ok := w.others[name]; !ok {
				return nil, fmt.Errorf("nothing runs for %q", name)
			} else if need[name] {
				all = append(all, named{name, contender})
				delete(need, name) // It runs once a round, whatever it is used for.
			}
		}
	}
	for _, one := range all {
		if one.cold {
			continue
		}
		if _, err := one.sample(ctx, c.unit); err != nil {
			return nil, fmt.Errorf("%s: warming up: %w", cmp.Or(one.name, "ours"), err)
		}
	}
	samples := make(map[string][]sample)
	for round := range n {
		for i := range all {
			one := all[(i+round)%len(all)]
			s, err := one.sample(ctx, c.unit)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", cmp.Or(one.name, "ours"), err)
			}
			samples[one.name] = append(samples[one.name], s)
		}
	}
	return samples, nil
}

// sample runs the contender once.
func (c contender) sample(ctx context.Context, u unit) (sample, error) {
	if err := call(ctx, c.prepare); err != nil {
		return sample{}, err
	}
	runtime.GC() // What others have left is not for this one to clear away.
	before := spentUntilNow()
	allocs, bytes := allocated()
	start := time.Now()
	operations, err := c.run(ctx)
	took := time.Since(start)
	if err != nil {
		return sample{}, err
	}
	if operations <= 0 {
		return sample{}, errors.New("it did nothing")
	}
	allocsAfter, bytesAfter := allocated()
	after := spentUntilNow()
	if err := call(ctx, c.verify); err != nil {
		return sample{}, err
	}
	n := float64(operations)
	return sample{
		value:  u.value(n*cmp.Or(c.amount, 1), took),
		allocs: float64(allocsAfter-allocs) / n,
		bytes:  float64(bytesAfter-bytes) / n,
		spent:  after.each(before, n),
	}, nil
}

func call(ctx context.Context, f func(context.Context) error) error {
	if f == nil {
		return nil
	}
	return f(ctx)
}

// allocated is what the process has allocated on the heap since it began.
func allocated() (objects, bytes uint64) {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64(), samples[1].Value.Uint64()
}

// evaluate makes a result of each of the others' samples.
func evaluate(c comparison, w *work, samples map[string][]sample) []result {
	ours := samples[oursName]
	var results []result
	for _, o := range c.others {
		name := c.name + "/" + o.name
		r := result{
			Name: name, Unit: c.unit.name, Baseline: cmp.Or(o.about, o.name),
			Goal: goalOf(name), Rounds: len(ours), Detail: w.detail,
		}
		switch {
		case o.memory > 0:
			r.Unit = mebibytes.name
			r.compare(mebibytes, []sample{{value: w.peak.value()}}, []sample{{value: o.memory}})
		case o.figure > 0:
			r.compare(c.unit, ours, slices.Repeat([]sample{{value: o.figure}}, len(ours)))
		default:
			theirs := o.name
			if o.fastestOf != nil {
				theirs = fastest(c.unit, o.fastestOf, samples)
				r.Baseline += ", here " + theirs
			}
			r.compare(c.unit, ours, samples[theirs])
		}
		results = append(results, r)
	}
	return results
}

// fastest returns the name of the contender with the best median.
func fastest(u unit, names []string, samples map[string][]sample) string {
	return slices.MinFunc(names, func(a, b string) int {
		return cmp.Compare(u.ratio(1, typical(samples[a])), u.ratio(1, typical(samples[b])))
	})
}

func typical(samples []sample) float64 { return median(values(samples)) }

func values(samples []sample) []float64 {
	return each(samples, func(s sample) float64 { return s.value })
}

func each(samples []sample, f func(sample) float64) []float64 {
	figures := make([]float64, len(samples))
	for i, s := range samples {
		figures[i] = f(s)
	}
	return figures
}

// median is the middle one, or the mean of the middle two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
