package backendtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

func (s suite) testOverwrite(t *testing.T) {
	t.Run("Sizes", func(t *testing.T) {
		t.Parallel()
		st := s.open(t)
		for i, size := range []int64{10, 3 * mib, 0, 100 * kib, 1, 6 * mib, 10} {
			c := content{uint64(i), size}
			st.want("name", st.put("name", c), c)
		}
		st.wantNames("", "", "name")
	})
	t.Run("NewVersions", s.testNewVersions)
	for _, size := range []int64{50 * kib, 6 * mib} {
		t.Run(fmt.Sprintf("OpenReader of %d", size), func(t *testing.T) {
			t.Parallel()
			s.overtakeReader(t, size, func(st store) {
				st.put("name", content{9, size})
			})
		})
	}
	t.Run("Readers", s.testReaders)
}

// testNewVersions checks that no version comes twice for one name.
func (s suite) testNewVersions(t *testing.T) {
	t.Parallel()
	st, c := s.open(t), content{1, 100}
	seen := make(map[backend.Version]string)
	note := func(v backend.Version, how string) {
		t.Helper()
		st.wantVersion(v)
		if first, ok := seen[v]; ok {
			t.Fatalf("%s made the version %q that %s had made before", how, v, first)
		}
		seen[v] = how
	}
	for i := range 5 {
		v := st.put("name", c)
		note(v, fmt.Sprintf("put %d of equal bytes", i))
		w, err := st.Copy(st.ctx, "name", "name", v, c.header(), backend.Condition{})
		if err != nil {
			t.Fatal(err)
		}
		note(w, fmt.Sprintf("copy %d onto itself", i))
		if err := st.Delete(st.ctx, "name", backend.Condition{}); err != nil {
			t.Fatal(err)
		}
		note(st.put("name", c), fmt.Sprintf("put %d after a delete", i))
	}
	if s.Reopen == nil {
		return
	}
	if err := st.Delete(st.ctx, "name", backend.Condition{}); err != nil {
		t.Fatal(err)
	}
	again := store{s.Reopen(t, st.Blobs), t, st.ctx}
	note(again.put("name", c), "put by another handle after a delete")
}

// overtakeReader begins to read, lets change happen, and reads on: it must see
// the rest of what it began with, or an error, and nothing else.
func (s suite) overtakeReader(t *testing.T, size int64, change func(st store)) {
	t.Helper()
	st, c := s.open(t), content{8, size}
	st.put("name", c)
	for _, begin := range []int64{0, 1000} {
		o := st.get("name")
		if err := c.compare(io.LimitReader(o.Body, begin), 0, begin, 512); err != nil {
			t.Fatal(err)
		}
		change(st)
		err := c.compare(o.Body, begin, size-begin, 32*kib)
		if errors.Is(err, errWrongBytes) {
			t.Errorf("a reader that was overtaken after %d bytes: %v", begin, err)
		}
		o.Body.Close()
		st.put("name", c)
	}
}

// testReaders reads and lists without end while one name is overwritten. Every
// content has its number in the header, which must fit the body, must not be
// older than the last put that had returned before, and must always have the
// same version.
func (s suite) testReaders(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	handles := s.handles(st, 4)
	w := watch{s: s, versions: make(map[backend.Version]uint64)}
	puts := s.times(200)
	ctx, stop := context.WithCancel(st.ctx)
	put := func(i int) {
		c := content{uint64(i), int64(50+i%7*10) * kib}
		if err := w.note(st.put("name", c), c.seed); err != nil {
			t.Error(err)
		}
		w.latest.Store(c.seed)
	}
	put(1)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop() // before the wait, should a put end the test
	for _, b := range handles {
		wg.Go(func() { w.readUntil(ctx, t, b) })
	}
	wg.Go(func() { w.listUntil(ctx, t, st) })
	// On a busy machine the readers may come late: go on until they have come.
	deadline := time.Now().Add(s.Patience)
	for i := 2; (i <= puts || w.read.Load() < 20) && !t.Failed() && time.Now().Before(deadline); i++ {
		put(i)
	}
	stop()
	wg.Wait()
	if w.read.Load() == 0 {
		t.Error("no reader came to the end of a body")
	}
	t.Logf("%d puts, %d whole reads, %d that were overtaken and failed", w.latest.Load(), w.read.Load(), w.failed.Load())
}

// A watch is what the readers of one name that is being overwritten know.
type watch struct {
	s            suite
	latest       atomic.Uint64 // number of the content whose Put returned last
	read, failed atomic.Int64
	mu           sync.Mutex
	versions     map[backend.Version]uint64
}

// note returns an error if another number has this version already.
func (w *watch) note(v backend.Version, seed uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if known, ok := w.versions[v]; ok && known != seed {
		return fmt.Errorf("the contents %d and %d both have the version %q", known, seed, v)
	}
	w.versions[v] = seed
	return nil
}

// breath is what those who read without end take between two reads, so that
// those who write get their turn on a machine of few cores.
const breath = 100 * time.Microsecond

func (w *watch) readUntil(ctx context.Context, t *testing.T, b backend.Blobs) {
	for ; ctx.Err() == nil && !t.Failed(); time.Sleep(breath) {
		latest := w.latest.Load()
		c, v, err := checkWhole(ctx, b, "name")
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errOvertaken):
			w.failed.Add(1)
			continue
		case err != nil:
			t.Error(err)
			return
		case c.seed < latest:
			t.Errorf("Get found content %d after the Put of content %d had returned", c.seed, latest)
		}
		w.read.Add(1)
		if err := w.note(v, c.seed); err != nil {
			t.Error(err)
		}
	}
}

func (w *watch) listUntil(ctx context.Context, t *testing.T, b backend.Blobs) {
	for ; ctx.Err() == nil && !t.Failed(); time.Sleep(breath) {
		list, err := entries(ctx, b, "", "")
		if ctx.Err() != nil {
			return
		}
		if err != nil || len(list) != 1 {
			t.Errorf("a listing during overwrites has %d entries and error %v; want the one name", len(list), err)
			return
		}
		if w.s.ListWithoutHeaders {
			continue
		}
		c, err := contentOf(list[0].Header)
		if err == nil && c.size == list[0].Size {
			err = w.note(list[0].Version, c.seed)
		}
		if err != nil || c.size != list[0].Size {
			t.Errorf("a listing during overwrites has the header %.60q with a size of %d: %v", list[0].Header, list[0].Size, err)
		}
	}
}

func (s suite) testDelete(t *testing.T) {
	t.Run("Idempotent", func(t *testing.T) {
		t.Parallel()
		st, c := s.open(t), content{1, 100}
		st.put("name", c)
		st.put("name2", c)
		for range 3 {
			if err := st.Delete(st.ctx, "name", backend.Condition{}); err != nil {
				t.Fatal(err)
			}
			st.wantMissing("name")
			st.wantNames("", "", "name2")
		}
		if err := st.Delete(st.ctx, "never there", backend.Condition{}); err != nil {
			t.Fatal(err)
		}
		st.want("name", st.put("name", c), c)
	})
	t.Run("Missing", func(t *testing.T) {
		t.Parallel()
		st, c := s.open(t), content{1, 100}
		v := st.put("name", c)
		if err := st.Delete(st.ctx, "name", backend.Condition{}); err != nil {
			t.Fatal(err)
		}
		for _, rng := range []backend.Range{{}, backend.All, {Offset: 5, Length: 5}} {
			_, err := st.Get(st.ctx, "name", rng, "")
			wantError(t, "Get", err, atrest.ErrNotFound)
			_, err = st.Get(st.ctx, "name", rng, v)
			wantError(t, "Get of the deleted version", err, atrest.ErrNotFound)
		}
	})
	for _, size := range []int64{50 * kib, 6 * mib} {
		t.Run(fmt.Sprintf("OpenReader of %d", size), func(t *testing.T) {
			t.Parallel()
			s.overtakeReader(t, size, func(st store) {
				if err := st.Delete(st.ctx, "name", backend.Condition{}); err != nil {
					t.Fatal(err)
				}
				st.wantMissing("name")
			})
		})
	}
}
