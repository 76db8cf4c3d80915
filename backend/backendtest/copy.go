package backendtest

import (
	"fmt"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// testCopy leaves the conditions to testConditions.
func (s suite) testCopy(t *testing.T) {
	for _, size := range []int64{0, 1, 5000, 64*kib + 1, 20 * mib} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			st, c := s.open(t), content{1, size}
			src := st.put("src", c)
			for i, headerSize := range []int64{0, 20, backend.MaxHeader} {
				header := content{uint64(i), headerSize}.bytes()
				v := st.copy("dst", src, header)
				st.wantHeader("dst", v, header, c)
			}
			st.want("src", src, c)
			st.wantNames("", "", "dst", "src")
		})
	}
	for _, size := range []int64{5000, 6 * mib} {
		t.Run(fmt.Sprintf("IndependentFate of %d", size), func(t *testing.T) {
			t.Parallel()
			s.copyFate(t, size)
		})
	}
	t.Run("OntoItself", s.testCopyOntoItself)
	t.Run("Chain", func(t *testing.T) {
		t.Parallel()
		st, c := s.open(t), content{1, 70 * kib}
		v := st.put("link0", c)
		for i := range 5 {
			from, to := fmt.Sprint("link", i), fmt.Sprint("link", i+1)
			w, err := st.Copy(st.ctx, to, from, v, c.header(), backend.Condition{})
			if err != nil {
				t.Fatal(err)
			}
			if err := st.Delete(st.ctx, from, backend.Condition{}); err != nil {
				t.Fatal(err)
			}
			st.want(to, w, c)
			v = w
		}
		st.wantNames("", "", "link5")
	})
	t.Run("Refused", s.testCopyRefused)
}

// copy makes "dst" of "src", which must succeed.
func (st store) copy(dst string, src backend.Version, header []byte) backend.Version {
	st.t.Helper()
	v, err := st.Copy(st.ctx, dst, "src", src, header, backend.Condition{})
	if err != nil {
		st.t.Fatalf("Copy of version %q to %q: %v", src, dst, err)
	}
	st.wantVersion(v)
	return v
}

// copyFate replaces and deletes either side, and looks at the other.
func (s suite) copyFate(t *testing.T, size int64) {
	st, c := s.open(t), content{1, size}
	other, header := content{2, size + 1}, []byte("the copy's header")
	src := st.put("src", c)
	v := st.copy("dst", src, header)

	st.setHeaderOf("dst", v, header, []byte("another"))
	st.want("src", src, c)
	st.setHeaderOf("src", src, c.header(), []byte("yet another"))
	st.wantHeader("dst", v, []byte("another"), c)

	st.put("src", other)
	st.wantHeader("dst", v, []byte("another"), c)
	if err := st.Delete(st.ctx, "src", backend.Condition{}); err != nil {
		t.Fatal(err)
	}
	st.wantHeader("dst", v, []byte("another"), c)

	src = st.put("src", c)
	for range 2 { // the second time over the first copy
		st.copy("dst", src, header)
		st.put("dst", other)
		st.want("src", src, c)
		st.copy("dst", src, header)
		if err := st.Delete(st.ctx, "dst", backend.Condition{}); err != nil {
			t.Fatal(err)
		}
		st.want("src", src, c)
	}
	st.copy("dst", src, header)
	v = st.copy("dst2", src, header)
	for _, name := range []string{"src", "dst"} {
		if err := st.Delete(st.ctx, name, backend.Condition{}); err != nil {
			t.Fatal(err)
		}
		st.wantHeader("dst2", v, header, c)
	}
}

func (st store) setHeaderOf(name string, v backend.Version, old, header []byte) {
	st.t.Helper()
	if err := st.SetHeader(st.ctx, backend.HeaderUpdate{Name: name, Version: v, Old: old, New: header}); err != nil {
		st.t.Fatalf("SetHeader of %q: %v", name, err)
	}
}

func (s suite) testCopyOntoItself(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{0, 5000, 6 * mib} {
		st, c := s.open(t), content{1, size}
		v := st.put("src", c)
		for i := range 3 {
			header := fmt.Append(nil, "header ", i)
			w := st.copy("src", v, header)
			if v == w {
				t.Fatalf("a copy of %d bytes onto itself keeps the version %q", size, v)
			}
			st.wantHeader("src", w, header, c)
			_, err := st.Copy(st.ctx, "src", "src", v, header, backend.Condition{})
			wantError(t, "Copy onto itself of a version that is no more", err, atrest.ErrConflict)
			v = w
		}
		// The same header is a new object nevertheless.
		if w := st.copy("src", v, []byte("header 2")); w == v {
			t.Fatalf("a copy of %d bytes onto itself with the same header keeps the version %q", size, v)
		}
		st.wantNames("", "", "src")
	}
}

func (s suite) testCopyRefused(t *testing.T) {
	t.Parallel()
	st, c := s.open(t), content{1, 1000}
	old := st.put("src", c)
	src := st.put("src", c)
	dst := st.put("dst", content{2, 50})
	for _, to := range []string{"dst", "new"} {
		for _, v := range []backend.Version{old, "nonsense"} {
			_, err := st.Copy(st.ctx, to, "src", v, nil, backend.Condition{})
			wantError(t, "Copy of a version that is not current", err, atrest.ErrConflict)
		}
		_, err := st.Copy(st.ctx, to, "never there", src, nil, backend.Condition{})
		wantError(t, "Copy of a name that is not there", err, atrest.ErrNotFound)
	}
	if err := st.Delete(st.ctx, "src", backend.Condition{}); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"dst", "new", "src"} {
		_, err := st.Copy(st.ctx, to, "src", src, nil, backend.Condition{})
		wantError(t, "Copy of a name that was deleted", err, atrest.ErrNotFound)
	}
	st.want("dst", dst, content{2, 50})
	st.wantNames("", "", "dst")
}
