package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// testPutBatch is for those that are a [backend.PutBatcher].
func (s suite) testPutBatch(t *testing.T) {
	if !s.putsBatches(t) {
		return
	}
	t.Run("Each", s.testBatchEach)
	t.Run("Names", s.testBatchNames)
	t.Run("Headers", s.testBatchHeaders)
	t.Run("Sizes", s.testBatchSizes)
	t.Run("IfAbsent", s.testBatchIfAbsent)
	t.Run("Duplicates", s.testBatchDuplicates)
	t.Run("Empty", func(t *testing.T) {
		t.Parallel()
		st := s.open(t)
		for _, puts := range [][]backend.SmallPut{nil, {}} {
			st.putBatch(st.ctx, st.Blobs, puts)
		}
		st.wantNames("", "")
	})
	t.Run("Many", s.testBatchMany)
	t.Run("Concurrent", s.testBatchesConcurrent)
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) { t.Parallel(); s.cancelBatch(t, e) })
	}
}

// putsBatches reports whether the backend puts in batches.
func (s suite) putsBatches(t *testing.T) bool {
	_, ok := s.Open(t).(backend.PutBatcher)
	if !ok {
		t.Log("this backend is no PutBatcher")
	}
	return ok
}

// small is a put of c with its own header.
func small(name string, c content) backend.SmallPut {
	return backend.SmallPut{Name: name, Header: c.header(), Body: c.bytes()}
}

// smallIfAbsent is small on the condition that there is none.
func smallIfAbsent(name string, c content) backend.SmallPut {
	p := small(name, c)
	p.IfAbsent = true
	return p
}

// putBatch makes one call, which may be made on any goroutine. What the backend is given
// is a copy. It must be as it was when the call returns, and is then overwritten, as it is
// by a caller who uses the memory again.
func (st store) putBatch(ctx context.Context, b backend.Blobs, puts []backend.SmallPut) ([]backend.Version, []error) {
	given := slices.Clone(puts)
	for i, p := range puts {
		given[i].Header, given[i].Body = bytes.Clone(p.Header), bytes.Clone(p.Body)
	}
	versions, errs := b.(backend.PutBatcher).PutBatch(ctx, given)
	for i, p := range puts {
		g := given[i]
		if g.Name != p.Name || g.IfAbsent != p.IfAbsent || !bytes.Equal(g.Header, p.Header) || !bytes.Equal(g.Body, p.Body) {
			st.t.Errorf("PutBatch altered the put %d that it was given", i)
		}
		overwrite(g.Header)
		overwrite(g.Body)
	}
	clear(given)
	if len(versions) != len(puts) || len(errs) != len(puts) {
		st.t.Errorf("PutBatch returned %d versions and %d errors for %d puts", len(versions), len(errs), len(puts))
		return make([]backend.Version, len(puts)), make([]error, len(puts))
	}
	for i, v := range versions {
		if errs[i] == nil && (v == "" || len(v) > backend.MaxVersion) {
			st.t.Errorf("put %d of %d has no error, and the version %.300q, which is empty or longer than %d bytes", i, len(puts), v, backend.MaxVersion)
		}
	}
	return versions, errs
}

func overwrite(p []byte) {
	for i := range p {
		p[i] = 0xdd
	}
}

// wantBatch makes one call, of puts of different names. It fails the test unless each
// error is the one wanted, or nil, and each put that has none can be read.
func (st store) wantBatch(puts []backend.SmallPut, wanted ...error) []backend.Version {
	st.t.Helper()
	versions, errs := st.putBatch(st.ctx, st.Blobs, puts)
	for i, want := range wanted {
		what := fmt.Sprintf("put %d of %d, of %.20q", i, len(wanted), puts[i].Name)
		switch {
		case want != nil:
			wantError(st.t, what, errs[i], want)
		case errs[i] != nil:
			st.t.Fatalf("%s: %v", what, errs[i])
		}
	}
	for i, want := range wanted {
		if want == nil {
			st.wantSmall(puts[i], versions[i])
		}
	}
	return versions
}

func (st store) wantSmall(p backend.SmallPut, v backend.Version) {
	st.t.Helper()
	if err := checkSmall(st.ctx, st.Blobs, p, v); err != nil {
		st.t.Fatal(err)
	}
}

// checkSmall returns an error unless the object is there as it was put, of this version.
// An empty one is any.
func checkSmall(ctx context.Context, b backend.Blobs, p backend.SmallPut, v backend.Version) error {
	o, err := b.Get(ctx, p.Name, backend.All, v)
	if err != nil {
		return fmt.Errorf("Get(%.80q) of version %q, which was returned: %w", p.Name, v, err)
	}
	defer o.Body.Close()
	body, err := io.ReadAll(io.LimitReader(o.Body, int64(len(p.Body))+1))
	switch {
	case err != nil:
		return fmt.Errorf("Get(%.80q): %w", p.Name, err)
	case v != "" && o.Version != v:
		return fmt.Errorf("Get(%.80q) found version %q, not %q", p.Name, o.Version, v)
	case !bytes.Equal(o.Header, p.Header):
		return fmt.Errorf("Get(%.80q) found the header %.60q, not %.60q", p.Name, o.Header, p.Header)
	case o.Size != int64(len(p.Body)) || !bytes.Equal(body, p.Body):
		return fmt.Errorf("Get(%.80q) found %d bytes and a size of %d, which are not the %d that were put", p.Name, len(body), o.Size, len(p.Body))
	}
	return nil
}

// testBatchEach mixes puts that succeed with such as are refused, twice.
func (s suite) testBatchEach(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	handles := s.handles(st, 2)
	kept := st.put("kept", numbered(1))
	st.put("old", numbered(2))
	tooLong := small("kept", numbered(3))
	tooLong.Header = make([]byte, backend.MaxHeader+1)
	puts := []backend.SmallPut{
		small("a", content{4, 1000}), small("old", content{5, 70}), small("", content{6, 10}), small("c", content{7, 5000}),
		tooLong, small("d", content{8, 100 * kib}), small("\xff", content{9, 10}), small("e", content{10, 1}),
	}
	wanted := []error{nil, nil, atrest.ErrInvalidName, nil, atrest.ErrTooLarge, nil, atrest.ErrInvalidName, nil}
	var before []backend.Version
	for range 2 {
		versions := st.wantBatch(puts, wanted...)
		for i, want := range wanted {
			if want != nil {
				continue
			}
			if err := checkSmall(st.ctx, handles[1], puts[i], versions[i]); err != nil {
				t.Errorf("by another handle: %v", err)
			}
			if before != nil && versions[i] == before[i] {
				t.Errorf("two puts of %q have the version %q", puts[i].Name, versions[i])
			}
		}
		before = versions
		st.want("kept", kept, numbered(1))
		st.wantNames("", "", "a", "c", "d", "e", "kept", "old")
	}
}

// testBatchNames has all the odd names in one batch, and among them those that are invalid.
func (s suite) testBatchNames(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	names := slices.Concat(oddNames, invalidNames)
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	puts, wanted := make([]backend.SmallPut, len(names)), make([]error, len(names))
	for i, name := range names {
		puts[i] = small(name, numbered(i))
		if slices.Contains(invalidNames, name) {
			wanted[i] = atrest.ErrInvalidName
		}
	}
	st.wantBatch(puts, wanted...)
	st.wantNames("", "", inOrder(oddNames, "", "")...)
}

// testBatchHeaders has headers of all lengths in one batch, with and without a body.
func (s suite) testBatchHeaders(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	var puts []backend.SmallPut
	var wanted []error
	var names []string
	for _, n := range []int64{-1, 0, 1, 17, backend.MaxHeader - 1, backend.MaxHeader, backend.MaxHeader + 1, 5000} {
		for _, size := range []int64{0, 99} {
			p := small(fmt.Sprintf("header of %d with %d", n, size), content{3, size})
			p.Header = nil
			if n >= 0 {
				// Bytes of every value, so that none has a meaning to the engine.
				p.Header = content{2, n}.bytes()
			}
			puts = append(puts, p)
			if n > backend.MaxHeader {
				wanted = append(wanted, atrest.ErrTooLarge)
				continue
			}
			wanted, names = append(wanted, nil), append(names, p.Name)
		}
	}
	st.wantBatch(puts, wanted...)
	st.wantNames("", "", inOrder(names, "", "")...)
}

// testBatchSizes has bodies of all lengths in one batch, small or not, and then replaces each
// by one of another length.
func (s suite) testBatchSizes(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	sizes := []int64{0, 1, 255, 4096, 16*kib - 1, 16 * kib, 16*kib + 1, 64 * kib, 256 * kib, 256*kib + 1, 3 * mib}
	for range 2 {
		puts := []backend.SmallPut{{Name: "nil"}}
		for i, size := range sizes {
			puts = append(puts, small(fmt.Sprintf("%02d", i), content{uint64(i), size}))
		}
		st.wantBatch(puts, make([]error, len(puts))...)
		slices.Reverse(sizes)
	}
}

func (s suite) testBatchIfAbsent(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	kept := st.put("kept", numbered(1))
	st.put("replaced", numbered(2))
	puts := []backend.SmallPut{
		smallIfAbsent("kept", numbered(3)), small("replaced", numbered(4)), smallIfAbsent("new", numbered(5)),
		small("other", numbered(6)), smallIfAbsent("", numbered(7)), smallIfAbsent("long", content{8, 300 * kib}),
	}
	if s.NoConditions {
		// No object of an invalid name is there: either may be said of it.
		st.wantBatch(slices.Delete(puts, 4, 5), atrest.ErrUnsupported, nil, atrest.ErrUnsupported, nil, atrest.ErrUnsupported)
		st.wantNames("", "", "kept", "other", "replaced")
		st.want("kept", kept, numbered(1))
		return
	}
	versions := st.wantBatch(puts, atrest.ErrExists, nil, nil, nil, atrest.ErrInvalidName, nil)
	st.wantNames("", "", "kept", "long", "new", "other", "replaced")
	st.want("kept", kept, numbered(1))

	// The same again: now all of them are there.
	st.wantBatch(puts, atrest.ErrExists, nil, atrest.ErrExists, nil, atrest.ErrInvalidName, atrest.ErrExists)
	st.want("kept", kept, numbered(1))
	st.wantSmall(puts[2], versions[2])
	st.wantSmall(puts[5], versions[5])
}

// testBatchMany makes more puts in a call than an engine takes in one statement or has
// connections for. A tenth of the names are there, and a fifth are put if absent.
func (s suite) testBatchMany(t *testing.T) {
	t.Parallel()
	const puts = 3000
	st := s.open(t)
	name := func(i int) string { return fmt.Sprintf("%04d", i) }
	there := s.times(puts / 10)
	var names, old []string
	for i := range puts {
		names = append(names, name(i))
		if i < there {
			old = append(old, name(i))
		}
	}
	before := st.putAll(old)
	// In no order at all: that of the names must not be taken for that of the puts.
	order := rand.Perm(puts)
	batch, wanted := make([]backend.SmallPut, puts), make([]error, puts)
	for k, i := range order {
		batch[k] = small(name(i), content{uint64(puts + i), int64(i % 1000)})
		if batch[k].IfAbsent = i%5 == 0 && !s.NoConditions; batch[k].IfAbsent && i < there {
			wanted[k] = atrest.ErrExists
		}
	}
	versions := st.wantBatch(batch, wanted...)
	seen := make(map[backend.Version]bool)
	for k, i := range order {
		if wanted[k] != nil {
			st.want(name(i), before[i], numbered(i))
			continue
		}
		if seen[versions[k]] {
			// Not against the contract, which is about one name, but nothing that
			// an engine has a reason to do.
			t.Logf("the version %q is that of two names", versions[k])
		}
		seen[versions[k]] = true
	}
	st.wantNames("", "", names...)
}

// cancelBatch ends the context before a call, and in its midst.
func (s suite) cancelBatch(t *testing.T, e ending) {
	st := s.open(t)
	var old []string
	var puts []backend.SmallPut
	for i := range s.times(1000) {
		name := fmt.Sprintf("%04d", i)
		if i%2 == 0 {
			old = append(old, name)
		}
		puts = append(puts, small(name, content{uint64(10_000 + i), int64(i)}))
	}
	versions := st.putAll(old)
	ctx, end := e.begin(st.ctx)
	end()
	_, errs := st.putBatch(ctx, st.Blobs, puts)
	for i, err := range errs {
		if !errors.Is(err, e.want) {
			t.Fatalf("put %d with a context that has ended: error %v; want %q", i, err, e.want)
		}
	}
	st.wantNames("", "", old...)
	st.want(old[0], versions[0], numbered(0))

	ctx, end = e.begin(st.ctx)
	defer end()
	var wg sync.WaitGroup
	wg.Go(func() {
		time.Sleep(breath)
		end()
	})
	made, errs := st.putBatch(ctx, st.Blobs, puts)
	wg.Wait()
	done := 0
	for i, err := range errs {
		if err == nil {
			done++
		} else if !errors.Is(err, e.want) {
			t.Fatalf("put %d when the context ended: error %v; want %q", i, err, e.want)
		}
		if i%19 > 0 && i < len(errs)-1 {
			continue
		}
		if err := st.checkCancelled(puts[i], made[i], err); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d of %d puts were done when the context ended", done, len(puts))
}

// checkCancelled returns an error unless a put that ended with an error has changed nothing or, if a
// request to the engine that was on its way could not be called back, is there whole.
func (st store) checkCancelled(p backend.SmallPut, v backend.Version, err error) error {
	if err == nil {
		return checkSmall(st.ctx, st, p, v)
	}
	c, _, err := checkWhole(st.ctx, st, p.Name)
	if errors.Is(err, atrest.ErrNotFound) || err == nil && c.seed < 10_000 {
		return nil
	}
	return errors.Join(err, checkSmall(st.ctx, st, p, ""))
}
