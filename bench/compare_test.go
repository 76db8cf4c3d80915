package bench

import (
	"slices"
	"testing"
	"time"
)

// A contender is one way of doing a piece of work. Its name becomes part of a
// benchmark's unit, so it has no space.
type contender struct {
	name string
	run  func() error
	// prepare, if not nil, comes before each run and is not timed.
	prepare func() error
}

// A rate says how much of what one run of a contender does.
type rate struct {
	amount float64
	unit   string // of amount per second
}

// compare has each contender do its work once per round, in an order that
// rotates, so that whatever else the machine does meets all alike. It reports
// the median of each, as a rate, or in microseconds where the rate is zero, and
// how many times as fast as each other contender the first one is.
//
// A ratio is the median of the rounds' own ratios. The one marked "best" is that
// of the fastest rounds: what is left if other users leave the machine alone.
func compare(b *testing.B, per rate, contenders ...contender) {
	b.Helper()
	times := make([][]time.Duration, len(contenders))
	for round := 0; b.Loop(); round++ {
		for i := range contenders {
			i = (i + round) % len(contenders)
			took, err := contenders[i].time()
			if err != nil {
				b.Fatalf("%s: %v", contenders[i].name, err)
			}
			times[i] = append(times[i], took)
		}
	}
	b.ReportMetric(0, "ns/op") // the sum of all, which tells nothing
	for i, c := range contenders {
		if typical := median(times[i]); per.amount > 0 {
			b.ReportMetric(per.amount/typical.Seconds(), c.name+"-"+per.unit)
		} else {
			b.ReportMetric(typical.Seconds()*1e6, c.name+"-µs")
		}
		if i > 0 {
			ratio := contenders[0].name + "/" + c.name
			b.ReportMetric(median(ratios(times[i], times[0])), ratio)
			b.ReportMetric(slices.Min(times[i]).Seconds()/slices.Min(times[0]).Seconds(), ratio+"-best")
		}
	}
}

// time runs the contender once and returns how long that took.
func (c contender) time() (time.Duration, error) {
	if c.prepare != nil {
		if err := c.prepare(); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	err := c.run()
	return time.Since(start), err
}

// ratios divides each duration by the one of the same round.
func ratios(times, by []time.Duration) []float64 {
	r := make([]float64, len(times))
	for i := range times {
		r[i] = times[i].Seconds() / by[i].Seconds()
	}
	return r
}

func median[T ~int64 | ~float64](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
