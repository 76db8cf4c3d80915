package backendtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/atrest/atrest/backend"
)

// A bodyError is the error of a body, to be found by its type and its value.
type bodyError struct{ after int64 }

func (e *bodyError) Error() string { return fmt.Sprintf("the body broke after %d bytes", e.after) }

func (s suite) testFailures(t *testing.T) {
	for _, size := range []int64{0, 1, 100 * kib, 10 * mib} {
		broken := &bodyError{size}
		body := func() io.Reader { return failingReader(content{2, size}, size, broken) }
		for name, body := range map[string]func() io.Reader{
			"":                    body,
			" with the last ones": func() io.Reader { return iotest.DataErrReader(body()) },
			" of more":            func() io.Reader { return sizedReader{body(), int(size) + 100} },
			// All bytes that Len promised have come. The body is broken still.
			" that are all": func() io.Reader { return sizedReader{body(), int(size)} },
		} {
			t.Run(fmt.Sprintf("Body breaks after %d bytes%s", size, name), func(t *testing.T) {
				t.Parallel()
				s.failPut(t, body, broken)
			})
		}
	}
	// What an upload that was cut short fails with. It looks like an end.
	wrapped := fmt.Errorf("the body's own source: %w", io.EOF)
	for name, err := range map[string]error{"Unexpected EOF": io.ErrUnexpectedEOF, "Wrapped EOF": wrapped} {
		for _, size := range []int64{0, 1, 100 * kib, 6 * mib} {
			t.Run(fmt.Sprintf("%s after %d bytes", name, size), func(t *testing.T) {
				t.Parallel()
				s.failPut(t, func() io.Reader { return failingReader(content{2, size}, size, err) }, err)
			})
		}
	}
	t.Run("Panic", s.testPanic)
}

// failPut puts a body that fails, over an object and where there is none.
func (s suite) failPut(t *testing.T, body func() io.Reader, want error) {
	t.Helper()
	st, old := s.open(t), content{1, 1000}
	v := st.put("name", old)
	for _, name := range []string{"name", "other"} {
		got, err := st.Put(st.ctx, name, []byte("new"), body(), backend.Condition{})
		if err == nil {
			t.Fatalf("Put of a body that fails with %q returned version %q", want, got)
		}
		if !errors.Is(err, want) {
			t.Fatalf("Put of a body that fails with %q returned the error %v", want, err)
		}
		if broken, ok := errors.AsType[*bodyError](err); ok && broken != want {
			t.Fatalf("Put returned the error %q instead of %q", broken, want)
		}
		st.want("name", v, old)
		st.wantMissing("other")
		st.wantNames("", "", "name")
	}
}

// testPanic checks that a body that panics leaves no lock held. Whether the
// panic comes out of Put is the backend's affair.
func (s suite) testPanic(t *testing.T) {
	t.Parallel()
	st, c := s.open(t), content{1, 1000}
	v := st.put("name", c)
	s.within(t, "Put of a body that panics", func() {
		defer func() { _ = recover() }()
		panicking := funcReader(func([]byte) (int, error) { panic("this body panics, as the test asks it to") })
		body := io.MultiReader(content{2, 100 * kib}.reader(), panicking)
		if _, err := st.Put(st.ctx, "name", nil, body, backend.Condition{}); err == nil {
			t.Error("Put of a body that panics returned no error")
		}
	})
	s.within(t, "Put, List and Delete after a panic", func() {
		if err := check(st.ctx, st, "name", v, c.header(), c); err != nil {
			t.Error(err)
		}
		_, err := st.Put(st.ctx, "name", nil, c.reader(), backend.Condition{})
		_, listErr := entries(st.ctx, st, "", "")
		if err := errors.Join(err, listErr, st.Delete(st.ctx, "name", backend.Condition{})); err != nil {
			t.Error(err)
		}
	})
}

// An ending is a way for a context to end.
type ending struct {
	name string
	want error
	// begin returns a context and a function that waits until it has ended, if
	// need be by ending it.
	begin func(ctx context.Context) (_ context.Context, end func())
}

var endings = []ending{
	{"Canceled", context.Canceled, func(ctx context.Context) (context.Context, func()) {
		return context.WithCancel(ctx)
	}},
	{"DeadlineExceeded", context.DeadlineExceeded, func(ctx context.Context) (context.Context, func()) {
		// Long enough for the call under test to have begun, on most days; on
		// others it is a deadline that has passed before, and that is tested too.
		ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		return ctx, func() { <-ctx.Done(); cancel() }
	}},
}

func (s suite) testCancel(t *testing.T) {
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			t.Run("Before", func(t *testing.T) { t.Parallel(); s.cancelledBefore(t, e) })
			t.Run("Body", func(t *testing.T) { t.Parallel(); s.cancelBody(t, e) })
			for _, size := range []int64{0, 100 * kib, 7 * mib} {
				for _, more := range []int64{0, 64 * mib} {
					t.Run(fmt.Sprintf("Put after %d bytes before %d", size, more), func(t *testing.T) {
						t.Parallel()
						s.cancelPut(t, e, size, more)
					})
				}
			}
		})
	}
}

func (s suite) cancelledBefore(t *testing.T, e ending) {
	st, c := s.open(t), content{1, 1000}
	v := st.put("name", c)
	ctx, end := e.begin(st.ctx)
	end()
	fails := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, e.want) {
			t.Errorf("%s with a context that had ended: error %v; want %q", what, err, e.want)
		}
	}
	for _, name := range []string{"name", "other"} {
		_, err := st.Put(ctx, name, nil, content{2, 10}.reader(), backend.Condition{})
		fails("Put", err)
		_, err = st.Copy(ctx, name, "name", v, nil, backend.Condition{})
		fails("Copy", err)
		fails("Delete", st.Delete(ctx, name, backend.Condition{}))
	}
	_, err := st.Get(ctx, "name", backend.All, "")
	fails("Get", err)
	fails("SetHeader", st.SetHeader(ctx, backend.HeaderUpdate{Name: "name", Version: v, Old: c.header()}))
	st.wantListError("List with a context that had ended", ctx, "", "", e.want)
	st.want("name", v, c)
	st.wantNames("", "", "name")
}

// cancelPut ends the context after size bytes of the body, of which more follow.
func (s suite) cancelPut(t *testing.T, e ending, size, more int64) {
	st, old := s.open(t), content{1, 1000}
	v := st.put("name", old)
	ctx, end := e.begin(st.ctx)
	defer end()
	ended := funcReader(func([]byte) (int, error) { end(); return 0, io.EOF })
	body := io.MultiReader(content{2, size}.reader(), ended, content{3, more}.reader())
	s.within(t, "Put with a context that ends", func() {
		if got, err := st.Put(ctx, "name", nil, body, backend.Condition{}); !errors.Is(err, e.want) {
			t.Errorf("Put with a context that ended after %d of %d bytes: version %q, error %v; want %q", size, size+more, got, err, e.want)
		}
	})
	st.want("name", v, old)
	st.wantNames("", "", "name")
}

// cancelBody ends the context while the body of a Get is read. What is on its
// way may still come, but not all of it.
func (s suite) cancelBody(t *testing.T, e ending) {
	st, c := s.open(t), content{1, 12 * mib}
	v := st.put("name", c)
	ctx, end := e.begin(st.ctx)
	defer end()
	o, err := st.Get(ctx, "name", backend.All, v)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Body.Close()
	begin := int64(10 * kib)
	if err := c.compare(io.LimitReader(o.Body, begin), 0, begin, kib); err != nil {
		t.Fatal(err)
	}
	end()
	s.within(t, "reading of a body whose context has ended", func() {
		err := c.compare(o.Body, begin, c.size-begin, 32*kib)
		if !errors.Is(err, e.want) {
			t.Errorf("reading of a body whose context has ended: error %v; want %q", err, e.want)
		}
	})
	st.want("name", v, c)
}
