// Package backendtest holds the one suite of tests that every implementation
// of [backend.Blobs] passes, and that of [backend.Records]. A backend's own tests
// call [Run], or [RunRecords], and add only what is peculiar to their engine.
package backendtest

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atrest/atrest/backend"
	"go.uber.org/goleak"
)

// A Config says how to get at the backend under test and in which ways its
// engine is known to fall short. What it falls short of is tested as well: a
// promise that can't be kept must be refused, not broken.
type Config struct {
	// Open returns a fresh, empty store. It is called many times, from parallel
	// tests, and what it opens it closes by t.Cleanup, idle network connections
	// and goroutines included.
	Open func(t *testing.T) backend.Blobs

	// Reopen, if set, returns another handle on the data of b, sharing nothing
	// with b but the engine, as another process would have it.
	Reopen func(t *testing.T, b backend.Blobs) backend.Blobs

	// Residue, if set, lists whatever the engine holds in the store of b that is
	// no live object: temporary files, bodies without a header, unfinished
	// uploads. Every test ends with it, and with the list empty.
	Residue func(t *testing.T, b backend.Blobs) []string

	// NoConditions tells that Put, Copy and Delete return ErrUnsupported for any
	// condition, and that SetHeader is no atomic compare-and-swap.
	NoConditions bool

	// NoConditionalDelete tells that Delete returns ErrUnsupported for IfVersion,
	// and deletes nothing then, while Put and Copy keep conditions. It may be a
	// success where the name is not there. NoConditions includes it.
	NoConditionalDelete bool

	// DeleteMayLose tells that a Delete that runs at the same time as a SetHeader or
	// a conditional Put of the same object may lose against it although both succeed.
	// The object is then there afterwards, whole, and another Delete removes it.
	DeleteMayLose bool

	// NoHeaderCompare tells that SetHeader compares the content version but not
	// the old header.
	NoHeaderCompare bool

	// ListWithoutHeaders tells that entries of a listing have nil headers, and
	// maybe no versions.
	ListWithoutHeaders bool

	// HeapLimit is how many bytes the live heap may grow while a body of 20 MiB
	// goes in or out; zero means 16 MiB. Only a backend that keeps its bodies on
	// that heap has a reason for more than 20 MiB.
	HeapLimit uint64

	// ModelRuns is how many random sequences of calls are compared with the
	// model; zero means what rapid's flags say, which is 100 unless given.
	ModelRuns int

	// Patience is how long a call that has nothing to wait for may take before
	// the suite concludes that it never returns; zero means a minute.
	Patience time.Duration

	// Groups, if not empty, names the groups to run, such as "Put" and "List". It is
	// for another configuration of an engine on which one test runs them all, and
	// names those whose outcome depends on what is configured. A group that there is
	// not fails the test.
	Groups []string

	// Slow reduces the number of repetitions, not the number of checks, for
	// engines that take milliseconds for a change.
	Slow bool
}

// A suite is the Config, with the tests as its methods.
type suite struct {
	Config
}

// Run runs the whole suite. It measures the heap and looks for goroutines left
// behind, so the caller must not run it parallel to other tests.
func Run(t *testing.T, cfg Config) {
	cfg.HeapLimit = cmp.Or(cfg.HeapLimit, 16*mib)
	cfg.Patience = cmp.Or(cfg.Patience, time.Minute)
	cfg.NoConditionalDelete = cfg.NoConditionalDelete || cfg.NoConditions
	s := suite{cfg}
	before := goleak.IgnoreCurrent()
	groups := s.groups()
	t.Run("Groups", func(t *testing.T) {
		for _, name := range s.Groups {
			if !slices.ContainsFunc(groups, func(g group) bool { return g.name == name }) {
				t.Errorf("Config.Groups has %q, and the suite has not", name)
			}
		}
	})
	for _, group := range groups {
		if len(s.Groups) > 0 && !slices.Contains(s.Groups, group.name) {
			continue
		}
		// An engine that refuses all conditions, as the group Conditions then
		// checks, has nothing to race for.
		if s.NoConditions && strings.HasSuffix(group.name, "Races") {
			continue
		}
		t.Run(group.name, group.run)
	}
	t.Run("Goroutines", func(t *testing.T) {
		goleak.VerifyNone(t, before)
	})
}

// A group is a number of tests, in the order in which they run.
type group struct {
	name string
	run  func(*testing.T)
}

func (s suite) groups() []group {
	return []group{
		{"Put", s.testPut},
		{"Heap", s.testHeap},
		{"Names", s.testNames},
		{"Ranges", s.testRanges},
		{"Body", s.testBody},
		{"Chunks", s.testChunks},
		{"Overwrite", s.testOverwrite},
		{"Failures", s.testFailures},
		{"Cancel", s.testCancel},
		{"Conditions", s.testConditions},
		{"Races", s.testRaces},
		{"SetHeader", s.testSetHeader},
		{"SetHeaderRaces", s.testSetHeaderRaces},
		{"SetHeaders", s.testSetHeaders},
		{"SetHeadersRaces", s.testSetHeadersRaces},
		{"PutBatch", s.testPutBatch},
		{"PutBatchRaces", s.testPutBatchRaces},
		{"Copy", s.testCopy},
		{"Delete", s.testDelete},
		{"List", s.testList},
		{"Model", s.testModel},
		{"Hammer", s.testHammer},
	}
}

// times returns n, or less where the engine is slow.
func (s suite) times(n int) int {
	if s.Slow {
		return max(1, n/5)
	}
	return n
}
