package main

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// sleeper is a contender that takes a known time, and counts its runs.
func sleeper(takes time.Duration, runs *[]string, name string) contender {
	return contender{run: func(context.Context) (int, error) {
		*runs = append(*runs, name)
		time.Sleep(takes)
		return 10, nil
	}}
}

// trivial compares 5 ms with 40 ms and 15 ms.
func trivial(u unit, runs *[]string) comparison {
	return comparison{
		name: "trivial", unit: u, rounds: 3,
		others: []other{
			{name: "slow"},
			{name: "best", fastestOf: []string{"slow", "middle"}},
			{name: "figure", about: "what was promised", figure: 1000},
			{name: "heap", memory: 64},
		},
		open: func(context.Context, *env, need) (*work, error) {
			peak := new(peakMemory)
			return &work{
				detail: "sleep", ours: peak.watched(sleeper(5*time.Millisecond, runs, "ours")), peak: peak,
				others: map[string]contender{
					"slow":   sleeper(40*time.Millisecond, runs, "slow"),
					"middle": sleeper(15*time.Millisecond, runs, "middle"),
				},
			}, nil
		},
	}
}

func measureTrivial(t *testing.T, c comparison) []result {
	t.Helper()
	results, err := measure(t.Context(), &env{settings: settings{rounds: 5}}, c)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// TestRatios: above 1 is better for us, of rates and of times alike.
func TestRatios(t *testing.T) {
	for _, u := range []unit{perSecond, micros} {
		var runs []string
		results := measureTrivial(t, trivial(u, &runs))
		if len(results) != 4 {
			t.Fatalf("%d results", len(results))
		}
		slow, best := results[0], results[1]
		if slow.Name != "trivial/slow" || slow.Ratio < 1.5 {
			t.Errorf("%s: %+v", u.name, slow)
		}
		if best.Ratio >= slow.Ratio || !strings.Contains(best.Baseline, "middle") {
			t.Errorf("%s: the best of two: %+v; one of them: %+v", u.name, best, slow)
		}
		if u.less != (slow.Ours < slow.Theirs) {
			t.Errorf("%s: ours %v, theirs %v", u.name, slow.Ours, slow.Theirs)
		}
		if r := slow.RatioSpread; r[0] > slow.Ratio || r[1] < slow.Ratio {
			t.Errorf("%s: ratio %v of %v", u.name, slow.Ratio, r)
		}
	}
}

// TestTurns: all run once a round, after a run that does not count, and in an
// order that rotates.
func TestTurns(t *testing.T) {
	var runs []string
	results := measureTrivial(t, trivial(perSecond, &runs))
	if want := strings.Fields("ours slow middle  ours slow middle  slow middle ours  middle ours slow"); !slices.Equal(runs, want) {
		t.Errorf("ran %v, want %v", runs, want)
	}
	if n := results[0].Rounds; n != 3 {
		t.Errorf("%d rounds", n)
	}
}

// TestFixedBaselines: a figure is compared in the unit of the comparison, and
// memory in its own.
func TestFixedBaselines(t *testing.T) {
	var runs []string
	results := measureTrivial(t, trivial(perSecond, &runs))
	figure, heap := results[2], results[3]
	if figure.Theirs != 1000 || math.Abs(figure.Ratio-figure.Ours/1000) > 0.01*figure.Ratio {
		t.Errorf("%+v", figure)
	}
	if heap.Unit != "MiB" || heap.Theirs != 64 || heap.Ours <= 0 || heap.Ratio != 64/heap.Ours {
		t.Errorf("%+v", heap)
	}
}

// TestFailures: a contender or a check that fails is an error, not a result, and
// so is a contender that does nothing.
func TestFailures(t *testing.T) {
	failure := errors.New("no")
	for name, spoil := range map[string]func(*work){
		"run":    func(w *work) { w.ours.run = func(context.Context) (int, error) { return 1, failure } },
		"verify": func(w *work) { w.ours.verify = func(context.Context) error { return failure } },
		"check":  func(w *work) { w.check = func(context.Context) error { return failure } },
		"close":  func(w *work) { w.close = func() error { return failure } },
		"theirs": func(w *work) {
			w.others["slow"] = contender{run: func(context.Context) (int, error) { return 1, failure }}
		},
		"nothing": func(w *work) { w.ours.run = func(context.Context) (int, error) { return 0, nil } },
		"missing": func(w *work) { delete(w.others, "slow") },
	} {
		var runs []string
		c := trivial(perSecond, &runs)
		open := c.open
		c.open = func(ctx context.Context, e *env, need need) (*work, error) {
			w, err := open(ctx, e, need)
			spoil(w)
			return w, err
		}
		_, err := measure(t.Context(), &env{}, c)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if name != "nothing" && name != "missing" && !errors.Is(err, failure) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		of   []float64
		want float64
	}{
		{[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1}, 2.5}, {[]float64{8, 1, 2, 100}, 5},
	} {
		if got := median(test.of); got != test.want {
			t.Errorf("median of %v: %v", test.of, got)
		}
	}
}

// TestJSON: each result is one line with the fields that others read.
func TestJSON(t *testing.T) {
	var runs []string
	r := measureTrivial(t, trivial(perSecond, &runs))[0]
	for _, goal := range []float64{0, 0.9} {
		r.Goal = goal
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]any{"name": "", "ours": 0.0, "unit": "", "baseline": "", "theirs": 0.0, "ratio": 0.0} {
			switch want.(type) {
			case string:
				if text, ok := fields[name].(string); !ok || text == "" {
					t.Errorf("%s is %v", name, fields[name])
				}
			default:
				if number, ok := fields[name].(float64); !ok || number <= 0 {
					t.Errorf("%s is %v", name, fields[name])
				}
			}
		}
		if got, ok := fields["goal"]; ok != (goal > 0) || ok && got != goal {
			t.Errorf("goal is %v, want %v", got, goal)
		}
	}
}

// TestGoalsExist: each goal is that of a result, and no two results have one name.
func TestGoalsExist(t *testing.T) {
	names := make(map[string]bool)
	for _, c := range comparisons(settings{rounds: 1, huge: true}) {
		for _, name := range c.names() {
			if names[name] {
				t.Errorf("two results are called %s", name)
			}
			names[name] = true
		}
	}
	all := goals
	if len(all) < 50 {
		t.Errorf("%d goals only", len(all))
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !names[name] {
			t.Errorf("nothing is measured for the goal of %s", name)
		}
	}
}

// TestSameNamesQuickly: -quick leaves nothing out.
func TestSameNamesQuickly(t *testing.T) {
	var full, quick []string
	for _, c := range comparisons(settings{}) {
		full = append(full, c.names()...)
	}
	for _, c := range comparisons(settings{quick: true}) {
		quick = append(quick, c.names()...)
	}
	if !slices.Equal(full, quick) {
		t.Error("-quick measures something else")
	}
}

// TestSelected: -run chooses results, and what they need.
func TestSelected(t *testing.T) {
	some := selected(comparisons(settings{}), regexp.MustCompile(`^body/encrypt/1MiB/(tink|fastest)$`))
	if len(some) != 1 || !slices.Equal(some[0].names(), []string{"body/encrypt/1MiB/tink", "body/encrypt/1MiB/fastest"}) {
		t.Fatalf("%v", some)
	}
}
