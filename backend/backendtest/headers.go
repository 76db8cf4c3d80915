package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// testSetHeaders is for those that are a [backend.HeaderBatcher].
func (s suite) testSetHeaders(t *testing.T) {
	if !s.batches(t) {
		return
	}
	t.Run("Each", s.testHeadersEach)
	t.Run("Duplicates", s.testHeadersDuplicates)
	t.Run("Empty", func(t *testing.T) {
		t.Parallel()
		st := s.open(t)
		for _, updates := range [][]backend.HeaderUpdate{nil, {}} {
			if errs := st.setHeaders(st.ctx, st.Blobs, updates); len(errs) != 0 {
				t.Errorf("SetHeaders of nothing returned %v", errs)
			}
		}
	})
	t.Run("Many", s.testHeadersMany)
	t.Run("LargeBody", func(t *testing.T) {
		t.Parallel()
		st, c := s.open(t), content{1, 6 * mib}
		u := backend.HeaderUpdate{Name: "name", Version: st.put("name", c), Old: c.header(), New: []byte("another header")}
		st.wantErrors(st.setHeaders(st.ctx, st.Blobs, []backend.HeaderUpdate{u}), nil)
		st.wantHeader("name", u.Version, u.New, c)
	})
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) { t.Parallel(); s.cancelHeaders(t, e) })
	}
}

// batches reports whether the backend sets headers in batches.
func (s suite) batches(t *testing.T) bool {
	_, ok := s.Open(t).(backend.HeaderBatcher)
	if !ok {
		t.Log("this backend is no HeaderBatcher")
	}
	return ok
}

// setHeaders makes one call, which may be made on any goroutine.
func (st store) setHeaders(ctx context.Context, b backend.Blobs, updates []backend.HeaderUpdate) []error {
	given := slices.Clone(updates)
	errs := b.(backend.HeaderBatcher).SetHeaders(ctx, updates)
	for i, u := range given {
		if updates[i].Name != u.Name || updates[i].Version != u.Version || !bytes.Equal(updates[i].New, u.New) || !bytes.Equal(updates[i].Old, u.Old) {
			st.t.Errorf("SetHeaders altered the update %d that it was given", i)
		}
	}
	if len(errs) != len(updates) {
		st.t.Errorf("SetHeaders returned %d errors for %d updates", len(errs), len(updates))
		return make([]error, len(updates))
	}
	return errs
}

// header returns the header that name has now.
func (st store) header(name string) []byte {
	st.t.Helper()
	o := st.get(name)
	defer o.Body.Close()
	return o.Header
}

// wantErrors fails the test unless each error is the one wanted, or nil.
func (st store) wantErrors(errs []error, wanted ...error) {
	st.t.Helper()
	for i, want := range wanted {
		what := fmt.Sprintf("update %d of %d", i, len(wanted))
		switch {
		case want != nil:
			wantError(st.t, what, errs[i], want)
		case errs[i] != nil:
			st.t.Fatalf("%s: %v", what, errs[i])
		}
	}
}

// testHeadersEach mixes updates that succeed with all that can be refused. The
// positions of the errors tell which is which.
func (s suite) testHeadersEach(t *testing.T) {
	t.Parallel()
	st, c := s.open(t), content{1, 1000}
	gone, replaced := st.put("gone", c), st.put("b", c)
	if err := st.Delete(st.ctx, "gone", backend.Condition{}); err != nil {
		t.Fatal(err)
	}
	versions := make(map[string]backend.Version)
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		versions[name] = st.put(name, c)
	}
	update := func(name string) backend.HeaderUpdate {
		return backend.HeaderUpdate{Name: name, Version: versions[name], Old: c.header(), New: []byte("new " + name)}
	}
	with := func(u backend.HeaderUpdate, change func(u *backend.HeaderUpdate)) backend.HeaderUpdate {
		change(&u)
		return u
	}
	updates := []backend.HeaderUpdate{
		update("f"),
		with(update("b"), func(u *backend.HeaderUpdate) { u.Version = replaced }),
		update("a"),
		with(update("gone"), func(u *backend.HeaderUpdate) { u.Version = gone }),
		with(update("never there"), func(u *backend.HeaderUpdate) { u.Version = gone }),
		with(update("d"), func(u *backend.HeaderUpdate) { u.New = make([]byte, backend.MaxHeader+1) }),
		with(update("c"), func(u *backend.HeaderUpdate) { u.New = make([]byte, backend.MaxHeader) }),
		with(update("a"), func(u *backend.HeaderUpdate) { u.Name = "" }),
		with(update("a"), func(u *backend.HeaderUpdate) { u.Name = "\xff" }),
		with(update("e"), func(u *backend.HeaderUpdate) { u.New = []byte{} }),
	}
	wanted := []error{nil, atrest.ErrConflict, nil, atrest.ErrConflict, atrest.ErrConflict, atrest.ErrTooLarge, nil,
		atrest.ErrInvalidName, atrest.ErrInvalidName, nil}
	if !s.NoHeaderCompare {
		updates = append(updates, with(update("d"), func(u *backend.HeaderUpdate) { u.Old = c.header()[:5] }))
		wanted = append(wanted, atrest.ErrConflict)
	}
	st.wantErrors(st.setHeaders(st.ctx, st.Blobs, updates), wanted...)
	headers := map[string][]byte{"b": c.header(), "d": c.header()}
	for i, want := range wanted {
		if want == nil {
			headers[updates[i].Name] = updates[i].New
		}
	}
	for name, header := range headers {
		st.wantHeader(name, versions[name], header, c)
	}
	st.wantNames("", "", "a", "b", "c", "d", "e", "f")
}

// testHeadersDuplicates updates one name more than once in a call.
func (s suite) testHeadersDuplicates(t *testing.T) {
	t.Parallel()
	st, c := s.open(t), content{1, 1000}
	v, other := st.put("name", c), st.put("other", c)
	update := func(old, header string) backend.HeaderUpdate {
		return backend.HeaderUpdate{Name: "name", Version: v, Old: []byte(old), New: []byte(header)}
	}
	// The same twice: once it is done, its old header is there no more.
	errs := st.setHeaders(st.ctx, st.Blobs, []backend.HeaderUpdate{
		update(string(c.header()), "1"),
		{Name: "other", Version: other, Old: c.header(), New: []byte("other")},
		update(string(c.header()), "2"),
	})
	st.wantErrors(errs[1:2], nil)
	st.wantHeader("other", other, []byte("other"), c)
	now := s.oneOf(st, v, c, errs[0], errs[2])

	// One that builds on another, if that one comes first.
	errs = st.setHeaders(st.ctx, st.Blobs, []backend.HeaderUpdate{update(now, "3"), update("3", "4")})
	want := "3"
	st.wantErrors(errs, nil)
	if errs[1] == nil {
		want = "4"
	} else {
		wantError(t, "the second of two updates", errs[1], atrest.ErrConflict)
	}
	if s.NoHeaderCompare {
		want = string(st.header("name"))
	}
	st.wantHeader("name", v, []byte(want), c)

	// No change is met as often as one likes.
	errs = st.setHeaders(st.ctx, st.Blobs, []backend.HeaderUpdate{update(want, want), update(want, want), update(want, want)})
	st.wantErrors(errs, nil, nil, nil)
	st.wantHeader("name", v, []byte(want), c)
}

// oneOf returns the header of "name" after one of two updates, to "1" and "2",
// has won.
func (s suite) oneOf(st store, v backend.Version, c content, err1, err2 error) string {
	st.t.Helper()
	now := string(st.header("name"))
	if s.NoHeaderCompare {
		return now
	}
	winner := oneWinner(st.t, "two updates of one name", []error{err1, err2}, atrest.ErrConflict)
	st.wantHeader("name", v, []byte([]string{"1", "2"}[winner]), c)
	return now
}

// testHeadersMany makes more updates in a call than an engine takes in one
// statement or has connections for. A third of the names are there.
func (s suite) testHeadersMany(t *testing.T) {
	t.Parallel()
	const updates = 3000
	st := s.open(t)
	var names []string
	for i := range s.times(updates / 3) {
		names = append(names, fmt.Sprintf("%04d", i*updates/s.times(updates/3)))
	}
	versions := st.putAll(names)
	batch := make([]backend.HeaderUpdate, updates)
	wanted := make([]error, updates)
	for i := range batch {
		batch[i] = backend.HeaderUpdate{Name: fmt.Sprintf("%04d", i), Version: "nonsense", New: content{uint64(i), 500}.bytes()}
		wanted[i] = atrest.ErrConflict
		if k, there := slices.BinarySearch(names, batch[i].Name); there {
			batch[i].Version, batch[i].Old = versions[k], numbered(k).header()
			wanted[i] = nil
		}
	}
	// In no order at all: that of the names must not be taken for that of the
	// updates.
	rand.Shuffle(updates, func(i, j int) {
		batch[i], batch[j], wanted[i], wanted[j] = batch[j], batch[i], wanted[j], wanted[i]
	})
	st.wantErrors(st.setHeaders(st.ctx, st.Blobs, batch), wanted...)
	for i, u := range batch {
		if k, there := slices.BinarySearch(names, u.Name); there && (i%10 == 0 || i > updates-20) {
			st.wantHeader(u.Name, u.Version, u.New, numbered(k))
		}
	}
	st.wantNames("", "", names...)
}

// cancelHeaders ends the context before a call, and in its midst.
func (s suite) cancelHeaders(t *testing.T, e ending) {
	st := s.open(t)
	var names []string
	for i := range s.times(500) {
		names = append(names, fmt.Sprintf("%04d", i))
	}
	versions := st.putAll(names)
	updates := make([]backend.HeaderUpdate, len(names))
	for i, name := range names {
		updates[i] = backend.HeaderUpdate{Name: name, Version: versions[i], Old: numbered(i).header(), New: []byte("new")}
	}
	ctx, end := e.begin(st.ctx)
	end()
	for i, err := range st.setHeaders(ctx, st.Blobs, updates) {
		if !errors.Is(err, e.want) {
			t.Fatalf("update %d with a context that has ended: error %v; want %q", i, err, e.want)
		}
	}
	st.wantHeader(names[0], versions[0], updates[0].Old, numbered(0))

	ctx, end = e.begin(st.ctx)
	defer end()
	var wg sync.WaitGroup
	wg.Go(func() {
		time.Sleep(breath)
		end()
	})
	errs := st.setHeaders(ctx, st.Blobs, updates)
	wg.Wait()
	done := 0
	for i, err := range errs {
		if err != nil && !errors.Is(err, e.want) {
			t.Fatalf("update %d when the context ended: error %v; want %q", i, err, e.want)
		}
		if err == nil {
			done++
		}
		if i%20 > 0 && i < len(errs)-1 {
			continue
		}
		// A request that is on its way to an engine can't be called back, so after
		// an error the header is the old one or the new one, whole.
		header := updates[i].New
		if err != nil && bytes.Equal(st.header(names[i]), updates[i].Old) {
			header = updates[i].Old
		}
		st.wantHeader(names[i], versions[i], header, numbered(i))
	}
	t.Logf("%d of %d updates were done when the context ended", done, len(updates))
}

func (s suite) testSetHeadersRaces(t *testing.T) {
	if !s.batches(t) {
		return
	}
	t.Run("EachOther", s.testHeadersRace)
	t.Run("AgainstPut", s.testHeadersAgainstPut)
}

// raceNames are few enough for all batches to meet on each.
func raceNames() []string {
	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprintf("name %02d", i))
	}
	return names
}

// testHeadersRace lets batches meet that have the same names, in orders of
// their own. An engine that locks in the order of the batch deadlocks.
func (s suite) testHeadersRace(t *testing.T) {
	t.Parallel()
	const contenders = 6
	st, names := s.open(t), raceNames()
	handles := s.handles(st, contenders)
	versions := st.putAll(names)
	old := make([][]byte, len(names))
	for i := range names {
		old[i] = numbered(i).header()
	}
	for round := range s.times(20) {
		header := func(w int) []byte { return fmt.Appendf(nil, "round %d, header %d", round, w) }
		outcome := make([][]error, contenders) // by the number of the name
		s.within(t, "SetHeaders of the same names", func() {
			all(contenders, func(w int) error {
				outcome[w] = make([]error, len(names))
				order := rand.Perm(len(names))
				updates := make([]backend.HeaderUpdate, len(names))
				for k, i := range order {
					updates[k] = backend.HeaderUpdate{Name: names[i], Version: versions[i], Old: old[i], New: header(w)}
				}
				for k, err := range st.setHeaders(st.ctx, handles[w], updates) {
					outcome[w][order[k]] = err
				}
				return nil
			})
		})
		for i, name := range names {
			if s.NoHeaderCompare {
				old[i] = st.header(name)
				continue
			}
			errs := make([]error, contenders)
			for w := range errs {
				errs[w] = outcome[w][i]
			}
			old[i] = header(oneWinner(t, "SetHeaders of "+name, errs, atrest.ErrConflict))
			st.wantHeader(name, versions[i], old[i], numbered(i))
		}
	}
}

// testHeadersAgainstPut is testHeaderAgainstPut with batches.
func (s suite) testHeadersAgainstPut(t *testing.T) {
	t.Parallel()
	st, names := s.open(t), raceNames()[:8]
	handles := s.handles(st, 3)
	for _, name := range names {
		st.put(name, content{1, 2 * kib})
	}
	var stop atomic.Bool
	var set atomic.Int64
	latest := make([]atomic.Uint64, len(names))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop.Store(true)
	for w, b := range handles {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				time.Sleep(breath)
				n, err := annotateAll(st, b, names, latest, fmt.Sprintf("; note %d of %d", i, w))
				set.Add(n)
				if err != nil {
					t.Errorf("SetHeaders against Put: %v", err)
					return
				}
			}
		})
	}
	puts := uint64(s.times(100))
	deadline := time.Now().Add(s.Patience / 10)
	for i := uint64(2); (i < puts || set.Load() < 20) && !t.Failed() && time.Now().Before(deadline); i++ {
		for k, name := range names {
			st.put(name, content{i, int64(2+i%3) * kib})
			latest[k].Store(i)
		}
	}
	t.Logf("%d puts of each name, %d headers set meanwhile", latest[0].Load(), set.Load())
}

// annotateAll adds a note to each header that is there, after it has checked
// that the header is of the body and the content no older than the latest. It
// returns how many notes were taken.
func annotateAll(st store, b backend.Blobs, names []string, latest []atomic.Uint64, note string) (int64, error) {
	var updates []backend.HeaderUpdate
	for k, name := range names {
		atLeast := latest[k].Load()
		c, v, err := checkWhole(st.ctx, b, name)
		if errors.Is(err, errOvertaken) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if c.seed < atLeast {
			return 0, fmt.Errorf("%q: content %d is back after the Put of content %d had returned", name, c.seed, atLeast)
		}
		o, err := b.Get(st.ctx, name, backend.Range{}, v)
		if errors.Is(err, atrest.ErrConflict) {
			continue
		}
		if err != nil {
			return 0, err
		}
		o.Body.Close()
		updates = append(updates, backend.HeaderUpdate{Name: name, Version: v, Old: o.Header, New: append(c.header(), note...)})
	}
	var set int64
	for _, err := range st.setHeaders(st.ctx, b, updates) {
		switch {
		case err == nil:
			set++
		case !errors.Is(err, atrest.ErrConflict):
			return set, err
		}
	}
	return set, nil
}
