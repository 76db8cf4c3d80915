package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// A store is a backend under test, with the steps that most tests are made of.
// These end the test, so they belong on its own goroutine; others call the
// methods of Blobs and use check.
type store struct {
	backend.Blobs
	t   *testing.T
	ctx context.Context
}

// open returns a fresh store that is searched for residue when t ends.
func (s suite) open(t *testing.T) store {
	t.Helper()
	b := s.Open(t)
	if s.Residue != nil {
		t.Cleanup(func() {
			if left := s.Residue(t, b); len(left) > 0 {
				t.Errorf("%d things were left behind that are no live objects, such as %.5q", len(left), left)
			}
		})
	}
	return store{b, t, t.Context()}
}

// handles returns n ways to get at the store, in turn those that Reopen makes,
// if there is one.
func (s suite) handles(st store, n int) []backend.Blobs {
	st.t.Helper()
	handles := make([]backend.Blobs, n)
	for i := range handles {
		handles[i] = st.Blobs
		if s.Reopen == nil || i == 0 {
			continue
		}
		if i > 3 { // four are enough to race each other
			handles[i] = handles[i%4]
			continue
		}
		handles[i] = s.Reopen(st.t, st.Blobs)
	}
	return handles
}

// put stores c under name with its own header.
func (st store) put(name string, c content) backend.Version {
	st.t.Helper()
	return st.putHeader(name, c.header(), c)
}

func (st store) putHeader(name string, header []byte, c content) backend.Version {
	st.t.Helper()
	v, err := st.Put(st.ctx, name, header, c.reader(), backend.Condition{})
	if err != nil {
		st.t.Fatalf("Put(%.80q) of %d bytes: %v", name, c.size, err)
	}
	st.wantVersion(v)
	return v
}

func (st store) wantVersion(v backend.Version) {
	st.t.Helper()
	if v == "" || len(v) > backend.MaxVersion {
		st.t.Fatalf("the version %.300q is empty or longer than %d bytes", v, backend.MaxVersion)
	}
}

// want fails the test unless name holds c with its own header and this version.
func (st store) want(name string, v backend.Version, c content) {
	st.t.Helper()
	st.wantHeader(name, v, c.header(), c)
}

func (st store) wantHeader(name string, v backend.Version, header []byte, c content) {
	st.t.Helper()
	if err := check(st.ctx, st.Blobs, name, v, header, c); err != nil {
		st.t.Fatal(err)
	}
}

// wantMissing fails the test unless nothing is called name.
func (st store) wantMissing(name string) {
	st.t.Helper()
	o, err := st.Get(st.ctx, name, backend.All, "")
	if err == nil {
		o.Body.Close()
		st.t.Fatalf("Get(%.80q) of a name that is not to be there found %d bytes of version %q", name, o.Size, o.Version)
	}
	wantError(st.t, fmt.Sprintf("Get(%.80q)", name), err, atrest.ErrNotFound)
}

// check reads an object and compares all of it.
func check(ctx context.Context, b backend.Blobs, name string, v backend.Version, header []byte, c content) error {
	o, err := b.Get(ctx, name, backend.All, "")
	if err != nil {
		return fmt.Errorf("Get(%.80q): %w", name, err)
	}
	defer o.Body.Close()
	if o.Version != v {
		return fmt.Errorf("Get(%.80q) found version %q, not %q", name, o.Version, v)
	}
	if o.Size != c.size {
		return fmt.Errorf("Get(%.80q) says that the body has %d bytes, not %d", name, o.Size, c.size)
	}
	if !bytes.Equal(o.Header, header) {
		return fmt.Errorf("Get(%.80q) found the header %.60q, not %.60q", name, o.Header, header)
	}
	if err := c.compare(o.Body, 0, c.size, 32<<10); err != nil {
		return fmt.Errorf("Get(%.80q): %w", name, err)
	}
	return nil
}

// checkWhole reads whatever is at name and checks that the body is the one
// that its header tells of. It returns that content and its version.
func checkWhole(ctx context.Context, b backend.Blobs, name string) (content, backend.Version, error) {
	o, err := b.Get(ctx, name, backend.All, "")
	if err != nil {
		return content{}, "", fmt.Errorf("Get(%.80q): %w", name, err)
	}
	defer o.Body.Close()
	c, err := contentOf(o.Header)
	if err != nil {
		return c, "", fmt.Errorf("Get(%.80q): %w", name, err)
	}
	if o.Size != c.size {
		return c, "", fmt.Errorf("Get(%.80q) found the header %q and a body of %d bytes", name, o.Header, o.Size)
	}
	err = c.compare(o.Body, 0, c.size, 8<<10)
	if err != nil && !errors.Is(err, errWrongBytes) {
		return c, "", fmt.Errorf("Get(%.80q): %w: %w", name, errOvertaken, err)
	}
	if err != nil {
		return c, "", fmt.Errorf("Get(%.80q) with the header %q: %w", name, o.Header, err)
	}
	return c, o.Version, nil
}

// errOvertaken is in the errors of reads that began well and then failed, as
// they may where the object was replaced meanwhile.
var errOvertaken = errors.New("the body could not be read to its end")

// wantError fails the test unless err is one of those wanted, and no other that
// callers branch on.
func wantError(t *testing.T, what string, err error, wanted ...error) {
	t.Helper()
	for _, want := range wanted {
		if errors.Is(err, want) {
			wantNoOther(t, what, err, want)
			return
		}
	}
	t.Fatalf("%s: error %v; want %q", what, err, wanted)
}

func wantNoOther(t *testing.T, what string, err, want error) {
	t.Helper()
	for _, other := range []error{
		atrest.ErrNotFound, atrest.ErrExists, atrest.ErrConflict, atrest.ErrInvalidName,
		atrest.ErrTooLarge, atrest.ErrUnsupported, atrest.ErrTampered, atrest.ErrPermission,
	} {
		if other != want && errors.Is(err, other) {
			t.Errorf("%s: the error %q is %q as well as %q", what, err, other, want)
		}
	}
}

// within fails the test if f is not done after a while, so that a lock that
// was left held is reported as such rather than as a timeout of everything.
func (s suite) within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(s.Patience):
		t.Fatalf("%s: not done after %v", what, s.Patience)
	}
}

// all runs f n times at once and returns the errors in order.
func all(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// oneWinner returns the index of the only nil among errs, and fails the test
// unless all others are the refusal.
func oneWinner(t *testing.T, what string, errs []error, refusal error) int {
	t.Helper()
	winner := -1
	for i, err := range errs {
		switch {
		case err != nil:
			wantError(t, fmt.Sprintf("%s, contender %d", what, i), err, refusal)
		case winner >= 0:
			t.Fatalf("%s: both %d and %d were told that they had won", what, winner, i)
		default:
			winner = i
		}
	}
	if winner < 0 {
		t.Fatalf("%s: nobody won", what)
	}
	return winner
}

// entries collects a listing, up to its error.
func entries(ctx context.Context, b backend.Blobs, prefix, after string) ([]backend.Entry, error) {
	var list []backend.Entry
	for e, err := range b.List(ctx, prefix, after) {
		if err != nil {
			return list, err
		}
		list = append(list, e)
	}
	return list, nil
}
