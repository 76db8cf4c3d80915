package backendtest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

func (s suite) testSetHeader(t *testing.T) {
	t.Run("Sizes", s.testHeaderSizes)
	t.Run("TooLong", func(t *testing.T) {
		t.Parallel()
		st, c := s.open(t), content{1, 1000}
		v := st.put("name", c)
		u := backend.HeaderUpdate{Name: "name", Version: v, Old: c.header(), New: make([]byte, backend.MaxHeader+1)}
		wantError(t, "SetHeader of a long header", st.SetHeader(st.ctx, u), atrest.ErrTooLarge)
		st.want("name", v, c)
	})
	t.Run("Conflict", s.testHeaderConflict)
	t.Run("LargeBody", func(t *testing.T) {
		t.Parallel()
		st, c := s.open(t), content{1, 12 * mib}
		v := st.put("name", c)
		st.setHeader(v, c.header(), []byte("another header"))
		st.wantHeader("name", v, []byte("another header"), c)
	})
	t.Run("OpenReader", func(t *testing.T) {
		t.Parallel()
		st, c := s.open(t), content{1, 3 * mib}
		v := st.put("name", c)
		o := st.get("name")
		defer o.Body.Close()
		st.setHeader(v, c.header(), []byte("another header"))
		// The body is the same, so that the reader may go on, or fail.
		if err := c.compare(o.Body, 0, c.size, 32*kib); errors.Is(err, errWrongBytes) {
			t.Error(err)
		}
	})
}

// setHeader replaces the header of "name", which must succeed.
func (st store) setHeader(v backend.Version, old, header []byte) {
	st.t.Helper()
	err := st.SetHeader(st.ctx, backend.HeaderUpdate{Name: "name", Version: v, Old: old, New: header})
	if err != nil {
		st.t.Fatalf("SetHeader from %d to %d bytes: %v", len(old), len(header), err)
	}
}

// testHeaderSizes lets a header grow and shrink.
func (s suite) testHeaderSizes(t *testing.T) {
	t.Parallel()
	st, c := s.open(t), content{1, 70 * kib}
	old := c.header()
	v := st.put("name", c)
	other := st.put("name.other", c)
	for i, size := range []int64{backend.MaxHeader, 0, 1, 300, 0, backend.MaxHeader, backend.MaxHeader, 20} {
		header := content{uint64(100 + i), size}.bytes()
		st.setHeader(v, old, header)
		st.wantHeader("name", v, header, c)
		list, err := entries(st.ctx, st, "", "")
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != 2 {
			t.Fatalf("after SetHeader there are %d entries, not 2", len(list))
		}
		if err := s.checkEntry(list[0], "name", v, header, c.size); err != nil {
			t.Fatal(err)
		}
		// The same again is no change and yet one that is met.
		st.setHeader(v, header, header)
		st.wantHeader("name", v, header, c)
		old = header
	}
	st.want("name.other", other, c)
}

// testHeaderConflict tries all that SetHeader must compare.
func (s suite) testHeaderConflict(t *testing.T) {
	t.Parallel()
	st, c := s.open(t), content{1, 1000}
	gone := st.put("gone", c)
	if err := st.Delete(st.ctx, "gone", backend.Condition{}); err != nil {
		t.Fatal(err)
	}
	replaced := st.put("name", c)
	v := st.put("name", c)
	conflict := func(what, name string, v backend.Version, old []byte) {
		t.Helper()
		u := backend.HeaderUpdate{Name: name, Version: v, Old: old, New: []byte("new")}
		wantError(t, "SetHeader "+what, st.SetHeader(st.ctx, u), atrest.ErrConflict)
	}
	conflict("of a name that was never there", "never there", v, c.header())
	conflict("of a name that was deleted", "gone", gone, c.header())
	conflict("of a version that was replaced", "name", replaced, c.header())
	conflict("of a nonsensical version", "name", "nonsense", c.header())
	if !s.NoHeaderCompare {
		conflict("with another old header", "name", v, []byte("content 2 of 1000 bytes"))
		conflict("with a part of the old header", "name", v, c.header()[:5])
		conflict("with no old header", "name", v, nil)
		conflict("with more than the old header", "name", v, append(c.header(), 0))
	}
	st.want("name", v, c)
	st.wantNames("", "", "name")
}

func (s suite) testSetHeaderRaces(t *testing.T) {
	t.Run("SameOld", s.testHeaderRace)
	t.Run("AgainstPut", s.testHeaderAgainstPut)
	t.Run("AgainstDelete", s.testHeaderAgainstDelete)
	t.Run("AgainstDeleteAndPut", s.testHeaderAgainstBoth)
}

// testHeaderRace lets all replace the same header.
func (s suite) testHeaderRace(t *testing.T) {
	t.Parallel()
	st, c := s.open(t), content{1, 1000}
	handles := s.handles(st, contenders)
	v, old := st.put("name", c), c.header()
	for round := range s.times(10) {
		header := func(i int) []byte { return fmt.Appendf(nil, "round %d, header %d", round, i) }
		errs := all(contenders, func(i int) error {
			return handles[i].SetHeader(st.ctx, backend.HeaderUpdate{Name: "name", Version: v, Old: old, New: header(i)})
		})
		if !s.NoHeaderCompare {
			old = header(oneWinner(t, "SetHeader", errs, atrest.ErrConflict))
			st.wantHeader("name", v, old, c)
			continue
		}
		o := st.get("name")
		o.Body.Close()
		old = o.Header
		st.wantHeader("name", v, old, c)
		var i, of int
		if _, err := fmt.Sscanf(string(old), "round %d, header %d", &of, &i); err != nil || of != round || errs[i] != nil {
			t.Fatalf("after round %d the header is %q, whose SetHeader returned %v", round, old, errs[i])
		}
	}
}

// testHeaderAgainstPut sets headers without end while contents are replaced.
// No content may ever carry a header that was made for another, nor come back
// after it was replaced.
func (s suite) testHeaderAgainstPut(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	handles := s.handles(st, 4)
	st.put("name", content{1, 10 * kib})
	var stop atomic.Bool
	var latest atomic.Uint64
	var set atomic.Int64
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop.Store(true)
	for w, b := range handles {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				time.Sleep(breath)
				err := annotate(st, b, latest.Load(), fmt.Sprintf("; note %d of %d", i, w))
				switch {
				case err == nil:
					set.Add(1)
				case !errors.Is(err, atrest.ErrConflict) && !errors.Is(err, errOvertaken):
					t.Errorf("SetHeader against Put: %v", err)
					return
				}
			}
		})
	}
	puts := uint64(s.times(200))
	deadline := time.Now().Add(s.Patience / 10)
	for i := uint64(2); (i < puts || set.Load() < 20) && !t.Failed() && time.Now().Before(deadline); i++ {
		st.put("name", content{i, int64(10+i%3) * kib})
		latest.Store(i)
		if err := annotate(st, st, i, "; note by the one who puts"); err != nil && !errors.Is(err, atrest.ErrConflict) && !errors.Is(err, errOvertaken) {
			t.Fatalf("SetHeader after Put: %v", err)
		}
	}
	t.Logf("%d puts, %d headers set meanwhile", latest.Load(), set.Load())
}

// annotate adds a note to the header that is there, after it has checked that
// this header is of the body, and the content no older than the latest.
func annotate(st store, b backend.Blobs, latest uint64, note string) error {
	c, v, err := checkWhole(st.ctx, b, "name")
	if err != nil {
		return err
	}
	if c.seed < latest {
		return fmt.Errorf("content %d is back after the Put of content %d had returned", c.seed, latest)
	}
	o, err := b.Get(st.ctx, "name", backend.Range{}, v)
	if err != nil {
		return err
	}
	defer o.Body.Close()
	if now, err := contentOf(o.Header); err != nil || now != c {
		return fmt.Errorf("version %q had the header of content %d and has now %.60q", v, c.seed, o.Header)
	}
	header := append(c.header(), note...)
	return b.SetHeader(st.ctx, backend.HeaderUpdate{Name: "name", Version: v, Old: o.Header, New: header})
}

// testHeaderAgainstDelete checks that what is deleted does not come back.
func (s suite) testHeaderAgainstDelete(t *testing.T) {
	t.Parallel()
	st, c := s.open(t), content{1, 1000}
	handles := s.handles(st, 4)
	for round := range s.times(100) {
		name := fmt.Sprint("name", round%3)
		v := st.put(name, c)
		errs := all(4, func(i int) error {
			if i == 0 {
				return handles[0].Delete(st.ctx, name, backend.Condition{})
			}
			header := fmt.Append(c.header(), "; header ", i)
			err := handles[i].SetHeader(st.ctx, backend.HeaderUpdate{Name: name, Version: v, Old: c.header(), New: header})
			if errors.Is(err, atrest.ErrConflict) {
				return nil
			}
			return err
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("Delete against SetHeader: %v", err)
		}
		s.wantDeleted(st, name, v, c)
		st.wantNames("", "")
	}
}

// testHeaderAgainstBoth deletes and puts anew while old headers are replaced.
func (s suite) testHeaderAgainstBoth(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	handles := s.handles(st, 4)
	for round := range s.times(100) {
		old, c := content{1, 1000}, content{uint64(2 + round), 1000}
		if err := st.Delete(st.ctx, "name", backend.Condition{}); err != nil {
			t.Fatal(err)
		}
		v := st.put("name", old)
		var w backend.Version
		errs := all(4, func(i int) (err error) {
			if i == 0 {
				if err := handles[0].Delete(st.ctx, "name", backend.Condition{}); err != nil {
					return err
				}
				w, err = handles[0].Put(st.ctx, "name", c.header(), c.reader(), backend.Condition{})
				return err
			}
			header := append(old.header(), "; a note"...)
			err = handles[i].SetHeader(st.ctx, backend.HeaderUpdate{Name: "name", Version: v, Old: old.header(), New: header})
			if errors.Is(err, atrest.ErrConflict) {
				return nil
			}
			return err
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("Delete and Put against SetHeader: %v", err)
		}
		st.want("name", w, c)
	}
}
