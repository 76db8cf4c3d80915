package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// A rival is one of several puts of one name in one call.
type rival struct {
	put     backend.SmallPut
	version backend.Version
	err     error
}

// testBatchDuplicates has several puts of each name in one batch: p puts whatever
// is there, a only if absent. With some names one body is long.
func (s suite) testBatchDuplicates(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	var puts []backend.SmallPut
	old := make(map[string]backend.Version) // of the names that are there before
	for _, conditions := range []string{"pp", "ppp", "a", "aa", "aaa", "pa", "ap", "ppa", "pap", "app", "aap", "apa", "paa"} {
		if s.NoConditions && strings.Contains(conditions, "a") {
			continue
		}
		for _, long := range []string{"", " long"} {
			for _, there := range []bool{false, true} {
				name := fmt.Sprintf("%s%s %v", conditions, long, there)
				if there {
					old[name] = st.put(name, numbered(0))
				}
				for i, cond := range conditions {
					c := numbered(len(puts) + 1)
					if i == 1 && long != "" {
						c.size = 70 * kib
					}
					p := small(name, c)
					p.IfAbsent = cond == 'a'
					puts = append(puts, p)
				}
			}
		}
	}
	// Equal bytes are different puts.
	puts = append(puts, small("equal", numbered(0)), small("equal", numbered(0)))
	rand.Shuffle(len(puts), func(i, j int) { puts[i], puts[j] = puts[j], puts[i] })
	versions, errs := st.putBatch(st.ctx, st.Blobs, puts)
	rivals := make(map[string][]rival)
	for i, p := range puts {
		rivals[p.Name] = append(rivals[p.Name], rival{p, versions[i], errs[i]})
	}
	for name, rivals := range rivals {
		if err := checkRivals(st, rivals, old[name]); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// checkRivals returns an error unless all puts of one name were answered as if made one
// after the other, in any order, and the last that was made is there. The version is that of what
// was there before, if any.
func checkRivals(st store, rivals []rival, before backend.Version) error {
	var plain, absent []rival // those that were made
	conditions := 0
	seen := map[backend.Version]bool{before: true}
	for _, r := range rivals {
		if r.put.IfAbsent {
			conditions++
		}
		switch {
		case r.put.IfAbsent && errors.Is(r.err, atrest.ErrExists):
			continue
		case r.err != nil:
			return r.err
		case seen[r.version]:
			return fmt.Errorf("the version %q comes twice", r.version)
		case r.put.IfAbsent:
			absent = append(absent, r)
		default:
			plain = append(plain, r)
		}
		seen[r.version] = true
	}
	switch {
	case before != "" && len(absent) > 0:
		return errors.New("a put if absent was made where there was an object")
	case len(absent) > 1:
		return fmt.Errorf("%d puts if absent were told that they had been made", len(absent))
	case len(plain) == 0 && before != "":
		return check(st.ctx, st, rivals[0].put.Name, before, numbered(0).header(), numbered(0))
	case len(plain) == 0 && len(absent) == 0:
		return fmt.Errorf("none of %d puts if absent was made", conditions)
	case len(plain) == 0:
		return checkSmall(st.ctx, st, absent[0].put, absent[0].version)
	}
	return checkOneOf(st, plain)
}

// checkOneOf returns an error unless one of them is there, with its version.
func checkOneOf(st store, rivals []rival) error {
	o, err := st.Get(st.ctx, rivals[0].put.Name, backend.Range{}, "")
	if err != nil {
		return err
	}
	o.Body.Close()
	i := slices.IndexFunc(rivals, func(r rival) bool { return r.version == o.Version })
	if i < 0 {
		return fmt.Errorf("what is there has the version %q, which none of the %d puts that were made has", o.Version, len(rivals))
	}
	return checkSmall(st.ctx, st, rivals[i].put, o.Version)
}

// testBatchesConcurrent lets batches meet that have the same names, in orders of their own.
// An engine that locks in the order of the batch deadlocks. Whoever reads meanwhile finds
// objects that are whole.
func (s suite) testBatchesConcurrent(t *testing.T) {
	t.Parallel()
	const contenders = 6
	st, names := s.open(t), raceNames()
	handles := s.handles(st, contenders)
	st.putAll(names)
	for round := range s.times(20) {
		outcome := s.raceBatches(st, handles, names, func(w, i int) backend.SmallPut {
			seed := (round*contenders+w)*len(names) + i
			return small(names[i], content{uint64(seed), int64(w * 700)})
		})
		for i, name := range names {
			if err := checkRivals(st, outcome[i], "before"); err != nil {
				t.Fatalf("PutBatch of %s, round %d: %v", name, round, err)
			}
		}
	}
}

// raceBatches has each handle put all names in a batch in an order of its own, the first of them
// one by one, and reads them meanwhile. It returns what became of the puts, by the number of the name.
func (s suite) raceBatches(st store, handles []backend.Blobs, names []string, of func(w, i int) backend.SmallPut) [][]rival {
	st.t.Helper()
	outcome := make([][]rival, len(names))
	for i := range outcome {
		outcome[i] = make([]rival, len(handles))
	}
	s.within(st.t, "PutBatch of the same names", func() {
		all(len(handles)+1, func(w int) error {
			if w == len(handles) {
				st.readMeanwhile(names)
				return nil
			}
			order := rand.Perm(len(names))
			puts := make([]backend.SmallPut, len(names))
			for k, i := range order {
				puts[k] = of(w, i)
			}
			put := st.putBatch
			if w == 0 {
				put = putEach
			}
			versions, errs := put(st.ctx, handles[w], puts)
			for k, i := range order {
				outcome[i][w] = rival{puts[k], versions[k], errs[k]}
			}
			return nil
		})
	})
	return outcome
}

// putEach does without a batch.
func putEach(ctx context.Context, b backend.Blobs, puts []backend.SmallPut) ([]backend.Version, []error) {
	versions, errs := make([]backend.Version, len(puts)), make([]error, len(puts))
	for i, p := range puts {
		versions[i], errs[i] = b.Put(ctx, p.Name, p.Header, bytes.NewReader(p.Body), backend.Condition{IfAbsent: p.IfAbsent})
	}
	return versions, errs
}

// readMeanwhile reads each name a few times, which may be missing only before it was put.
func (st store) readMeanwhile(names []string) {
	there := make(map[string]bool)
	for range 3 {
		for _, name := range names {
			_, _, err := checkWhole(st.ctx, st, name)
			switch {
			case err == nil:
				there[name] = true
			case errors.Is(err, errOvertaken), errors.Is(err, atrest.ErrNotFound) && !there[name]:
			default:
				st.t.Errorf("during PutBatch: %v", err)
				return
			}
		}
		time.Sleep(breath)
	}
}

func (s suite) testPutBatchRaces(t *testing.T) {
	if !s.putsBatches(t) {
		return
	}
	t.Run("IfAbsent", s.testBatchesIfAbsent)
}

// testBatchesIfAbsent is testBatchesConcurrent with names that are not there, of which
// one batch each gets the better of the others.
func (s suite) testBatchesIfAbsent(t *testing.T) {
	t.Parallel()
	const contenders = 4
	st := s.open(t)
	handles := s.handles(st, contenders)
	for round := range s.times(20) {
		names := raceNames()
		for i := range names {
			names[i] += fmt.Sprintf(" of round %d", round)
		}
		outcome := s.raceBatches(st, handles, names, func(w, i int) backend.SmallPut {
			return smallIfAbsent(names[i], content{uint64(w*len(names) + i), int64(w * 700)})
		})
		for i, name := range names {
			if err := checkRivals(st, outcome[i], ""); err != nil {
				t.Fatalf("PutBatch if absent of %s: %v", name, err)
			}
		}
	}
}
