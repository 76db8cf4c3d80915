package backendtest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// contenders is how many race each other, over up to four handles.
const contenders = 20

func (s suite) testRaces(t *testing.T) {
	for _, size := range []int64{1000, 6 * mib} {
		t.Run(fmt.Sprintf("Put of %d", size), func(t *testing.T) {
			t.Run("IfAbsent", func(t *testing.T) { t.Parallel(); s.racePut(t, size, false) })
			t.Run("IfVersion", func(t *testing.T) { t.Parallel(); s.racePut(t, size, true) })
		})
	}
	t.Run("Copy", s.testRaceCopy)
	if !s.NoConditionalDelete { // else it is refused, as the group Conditions checks
		t.Run("DeleteAgainstPut", s.testRaceDelete)
	}
	t.Run("Counter", s.testCounter)
}

// racePut lets all put at once: one wins, and what is there is the winner's.
func (s suite) racePut(t *testing.T, size int64, replace bool) {
	st := s.open(t)
	handles := s.handles(st, contenders)
	n, rounds := contenders, s.times(5)
	if size > mib {
		n, rounds = 4, 1
	}
	for round := range rounds {
		name := fmt.Sprint("name", round)
		cond, refusal := ifAbsent, atrest.ErrExists
		if replace {
			cond, refusal = ifVersion(st.put(name, content{99, 10})), atrest.ErrConflict
		}
		versions := make([]backend.Version, n)
		errs := all(n, func(i int) (err error) {
			c := content{uint64(i), size}
			versions[i], err = handles[i].Put(st.ctx, name, c.header(), c.reader(), cond)
			return err
		})
		winner := oneWinner(t, "Put", errs, refusal)
		st.want(name, versions[winner], content{uint64(winner), size})
	}
}

func (s suite) testRaceCopy(t *testing.T) {
	t.Parallel()
	st, c := s.open(t), content{1, 50 * kib}
	handles := s.handles(st, contenders)
	src := st.put("src", c)
	race := func(cond backend.Condition, refusal error) {
		t.Helper()
		versions := make([]backend.Version, contenders)
		header := func(i int) []byte { return fmt.Append(nil, "copy ", i) }
		errs := all(contenders, func(i int) (err error) {
			versions[i], err = handles[i].Copy(st.ctx, "dst", "src", src, header(i), cond)
			return err
		})
		winner := oneWinner(t, "Copy", errs, refusal)
		st.wantHeader("dst", versions[winner], header(winner), c)
	}
	race(ifAbsent, atrest.ErrExists)
	race(ifVersion(st.put("dst", content{2, 10})), atrest.ErrConflict)
}

// testRaceDelete has one who deletes a version and one who replaces it. Either
// wins and the other is told.
func (s suite) testRaceDelete(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	handles := s.handles(st, 2)
	for range s.times(100) {
		v := st.put("name", content{1, 1000})
		c := content{2, 2000}
		var w backend.Version
		errs := all(2, func(i int) (err error) {
			if i == 0 {
				return handles[0].Delete(st.ctx, "name", ifVersion(v))
			}
			w, err = handles[1].Put(st.ctx, "name", c.header(), c.reader(), ifVersion(v))
			return err
		})
		if oneWinner(t, "Delete against Put", errs, atrest.ErrConflict) == 0 {
			st.wantMissing("name")
		} else {
			st.want("name", w, c)
		}
	}
}

// testCounter counts in a body, by compare-and-swap. Not one may be lost.
func (s suite) testCounter(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	handles := s.handles(st, contenders)
	each := s.times(10)
	st.put("counter", content{0, 1000})
	for _, err := range all(contenders, func(i int) error {
		for range each {
			if err := increment(st, handles[i]); err != nil {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	c, _, err := checkWhole(st.ctx, st, "counter")
	if err != nil {
		t.Fatal(err)
	}
	if want := uint64(contenders * each); c.seed != want {
		t.Errorf("%d increments count %d", want, c.seed)
	}
}

// increment tries until nobody comes in between.
func increment(st store, b backend.Blobs) error {
	for {
		c, v, err := checkWhole(st.ctx, b, "counter")
		if errors.Is(err, errOvertaken) {
			continue
		}
		if err != nil {
			return err
		}
		next := content{c.seed + 1, c.size}
		_, err = b.Put(st.ctx, "counter", next.header(), next.reader(), ifVersion(v))
		if !errors.Is(err, atrest.ErrConflict) {
			return err
		}
	}
}
