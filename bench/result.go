package main

import (
	"slices"
)

// A result is ours beside one other. All figures are medians over the rounds.
type result struct {
	Name     string  `json:"name"`
	Ours     float64 `json:"ours"`
	Unit     string  `json:"unit"`
	Baseline string  `json:"baseline"`
	Theirs   float64 `json:"theirs"`
	// Ratio is the median of the rounds' own ratios: above 1, ours is better,
	// whatever the unit.
	Ratio float64 `json:"ratio"`
	// Goal is what the ratio should be at least. Zero: nobody has promised any.
	Goal float64 `json:"goal,omitempty"`

	Rounds       int    `json:"rounds"`
	OursSpread   spread `json:"ours_spread"`
	TheirsSpread spread `json:"theirs_spread"`
	RatioSpread  spread `json:"ratio_spread"`

	// Allocs and bytes are what one operation allocates on this process's heap.
	OursAllocs   *float64 `json:"ours_allocs,omitempty"`
	OursBytes    *float64 `json:"ours_alloc_bytes,omitempty"`
	TheirsAllocs *float64 `json:"theirs_allocs,omitempty"`
	TheirsBytes  *float64 `json:"theirs_alloc_bytes,omitempty"`

	// Spent is processor time in µs an operation, by program.
	OursSpent   map[string]float64 `json:"ours_processor_us,omitempty"`
	TheirsSpent map[string]float64 `json:"theirs_processor_us,omitempty"`

	// Elsewhere is how many cores others had on average, where that is noise.
	Elsewhere *float64 `json:"elsewhere,omitempty"`

	Detail string `json:"detail,omitempty"`
}

// A spread is the least and the greatest of some figures.
type spread [2]float64

func spreadOf(figures []float64) spread {
	return spread{slices.Min(figures), slices.Max(figures)}
}

// compare fills in what the samples of both come to.
func (r *result) compare(u unit, ours, theirs []sample) {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = u.ratio(ours[i].value, theirs[i].value)
	}
	r.Ours, r.OursSpread = typical(ours), spreadOf(values(ours))
	r.Theirs, r.TheirsSpread = typical(theirs), spreadOf(values(theirs))
	r.Ratio, r.RatioSpread = median(ratios), spreadOf(ratios)
	r.OursAllocs, r.OursBytes = allocsOf(ours)
	r.TheirsAllocs, r.TheirsBytes = allocsOf(theirs)
	r.OursSpent, r.TheirsSpent = typicalSpent(ours), typicalSpent(theirs)
}

// allocsOf are nil for what was not run.
func allocsOf(samples []sample) (allocs, bytes *float64) {
	a := median(each(samples, func(s sample) float64 { return s.allocs }))
	b := median(each(samples, func(s sample) float64 { return s.bytes }))
	if a == 0 && b == 0 {
		return nil, nil
	}
	return &a, &b
}

// missed reports whether a goal was missed.
func (r *result) missed() bool { return r.Goal > 0 && r.Ratio < r.Goal }
