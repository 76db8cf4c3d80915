package main

import (
	"context"
	"regexp"
	"slices"
	"time"
)

// A comparison is one piece of work that we and others do in turns. Each of the
// others makes a result, whose name is that of the comparison, a slash, and its
// own: body/encrypt/1MiB/tink.
type comparison struct {
	name   string
	unit   unit
	others []other
	// alone says that no server takes part, so that what other processes do on
	// this machine is noise, and how much it was is reported.
	alone bool
	// rounds is how many rounds there are; zero means as many as the user wants.
	rounds int
	// open prepares the work of ours and of those others that need names.
	open func(ctx context.Context, e *env, need need) (*work, error)
}

// An other is what ours is compared with.
type other struct {
	name  string
	about string // for people; empty: the name says it

	// Of these at most one is set. All zero means a contender of that name.

	// fastestOf are contenders, the fastest of which it is.
	fastestOf []string
	// figure is a rate that was promised, in the comparison's unit.
	figure float64
	// memory is how much our memory may grow, in MiB. It is the memory that is
	// compared then, not the rate.
	memory float64
}

// contenders are the names of what has to run for o.
func (o other) contenders() []string {
	switch {
	case o.fastestOf != nil:
		return o.fastestOf
	case o.figure > 0 || o.memory > 0:
		return nil
	}
	return []string{o.name}
}

// A need says which contenders have to run beside ours.
type need map[string]bool

// A work is what a comparison does, ready to begin.
type work struct {
	detail string // of what, for people: "64 MiB in segments of 64 KiB"
	ours   contender
	others map[string]contender
	peak   *peakMemory // of ours, where it is compared
	// check looks, after all rounds, whether what was done is right. May be nil.
	check func(ctx context.Context) error
	// close may be nil.
	close func() error
}

// A contender is one way of doing the work.
type contender struct {
	// prepare, if not nil, comes before each run and is not timed.
	prepare func(ctx context.Context) error
	// run does the work, or a number of operations of it, and returns how many.
	// It fails if any of them does not do what it should.
	run func(ctx context.Context) (operations int, err error)
	// verify, if not nil, comes after each run and is not timed.
	verify func(ctx context.Context) error
	// amount is how much one operation does: of bytes, or zero for one.
	amount float64
	// cold says that the first run is as good as any other. Else it is not counted.
	cold bool
}

// A unit is that of a result.
type unit struct {
	name  string
	scale float64 // a unit of amount per second, or as many units a second
	less  bool    // less of it is better: it is a time
}

var (
	perSecond = unit{name: "1/s", scale: 1}
	gigabytes = unit{name: "GB/s", scale: 1e9}
	micros    = unit{name: "µs", scale: 1e6, less: true}
	microsMiB = unit{name: "µs/MiB", scale: 1e6 * (1 << 20), less: true}
	mebibytes = unit{name: "MiB", scale: 1 << 20, less: true}
)

// value is the figure for an amount that took so long.
func (u unit) value(amount float64, took time.Duration) float64 {
	if u.less {
		return took.Seconds() * u.scale / amount
	}
	return amount / u.scale / took.Seconds()
}

// ratio is how many times as good ours is: above 1, it is better.
func (u unit) ratio(ours, theirs float64) float64 {
	if u.less {
		return theirs / ours
	}
	return ours / theirs
}

// comparisons are all that there are, in the order in which they run: first what
// needs no server.
func comparisons(s settings) []comparison {
	return slices.Concat(
		bodyComparisons(s),
		segmentComparisons(s),
		smallComparisons(s),
		largeComparisons(s),
		rangeComparisons(),
		rewrapComparisons(),
		importComparisons(),
		growthComparisons(s),
		remoteComparisons(),
	)
}

// names are those of the results of c.
func (c comparison) names() []string {
	var names []string
	for _, o := range c.others {
		names = append(names, c.name+"/"+o.name)
	}
	return names
}

// selected leaves the results whose names match, and no comparison without any.
func selected(all []comparison, match *regexp.Regexp) []comparison {
	var some []comparison
	for _, c := range all {
		c.others = slices.DeleteFunc(slices.Clone(c.others), func(o other) bool {
			return !match.MatchString(c.name + "/" + o.name)
		})
		if len(c.others) > 0 {
			some = append(some, c)
		}
	}
	return some
}
