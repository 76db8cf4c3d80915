package backendtest

import (
	"errors"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

var (
	ifAbsent = backend.Condition{IfAbsent: true}
	anything = backend.Condition{}
)

func ifVersion(v backend.Version) backend.Condition { return backend.Condition{IfVersion: v} }

// change is a Put or a Copy of contents whose first is "src", to be tried with
// conditions.
type change struct {
	name string
	try  func(st store, dst string, src backend.Version, c content, cond backend.Condition) (backend.Version, error)
}

var changes = []change{
	{"Put", func(st store, dst string, _ backend.Version, c content, cond backend.Condition) (backend.Version, error) {
		return st.Put(st.ctx, dst, c.header(), c.reader(), cond)
	}},
	{"Copy", func(st store, dst string, src backend.Version, c content, cond backend.Condition) (backend.Version, error) {
		return st.Copy(st.ctx, dst, "src", src, c.header(), cond)
	}},
}

func (s suite) testConditions(t *testing.T) {
	t.Run("Both", s.testBothConditions)
	if s.NoConditions {
		t.Run("Unsupported", s.testNoConditions)
		return
	}
	for _, ch := range changes {
		t.Run(ch.name, func(t *testing.T) {
			t.Run("IfAbsent", func(t *testing.T) { t.Parallel(); s.changeIfAbsent(t, ch) })
			t.Run("IfVersion", func(t *testing.T) { t.Parallel(); s.changeIfVersion(t, ch) })
		})
	}
	if s.NoConditionalDelete {
		t.Run("DeleteUnsupported", s.testNoDeleteIf)
	} else {
		t.Run("Delete", s.testDeleteIf)
	}
	t.Run("LargePut", s.testLargePutIf)
}

// testBothConditions also has the condition that makes no sense for a Delete.
func (s suite) testBothConditions(t *testing.T) {
	t.Parallel()
	st, c := s.open(t), content{1, 100}
	v := st.put("src", c)
	both := backend.Condition{IfAbsent: true, IfVersion: v}
	for _, name := range []string{"src", "other"} {
		for _, ch := range changes {
			_, err := ch.try(st, name, v, c, both)
			wantError(t, ch.name+" with two conditions", err, atrest.ErrUnsupported)
		}
	}
	wantError(t, "Delete with two conditions", st.Delete(st.ctx, "src", both), atrest.ErrUnsupported)
	wantError(t, "Delete if absent", st.Delete(st.ctx, "src", ifAbsent), atrest.ErrUnsupported)
	st.want("src", v, c)
	st.wantNames("", "", "src")
}

// testNoConditions checks that an engine that can't keep a promise refuses to
// try, rather than to change something and hope.
func (s suite) testNoConditions(t *testing.T) {
	t.Parallel()
	st, c := s.open(t), content{1, 100}
	v := st.put("src", c)
	for _, cond := range []backend.Condition{ifAbsent, ifVersion(v), ifVersion("another")} {
		for _, name := range []string{"src", "other"} {
			for _, ch := range changes {
				_, err := ch.try(st, name, v, content{2, 50}, cond)
				wantError(t, ch.name+" with a condition", err, atrest.ErrUnsupported)
			}
		}
		wantError(t, "Delete with a condition", st.Delete(st.ctx, "src", cond), atrest.ErrUnsupported)
	}
	st.want("src", v, c)
	st.wantNames("", "", "src")
}

func (s suite) changeIfAbsent(t *testing.T, ch change) {
	st, c := s.open(t), content{1, 100}
	src := st.put("src", c)
	v, err := ch.try(st, "dst", src, c, ifAbsent)
	if err != nil {
		t.Fatalf("of a name that is not there: %v", err)
	}
	st.want("dst", v, c)
	for _, name := range []string{"dst", "src"} {
		_, err = ch.try(st, name, src, content{2, 50}, ifAbsent)
		wantError(t, ch.name+" if absent of a name that is there", err, atrest.ErrExists)
	}
	st.want("dst", v, c)
	st.want("src", src, c)
	if err := st.Delete(st.ctx, "dst", anything); err != nil {
		t.Fatal(err)
	}
	if v, err = ch.try(st, "dst", src, c, ifAbsent); err != nil {
		t.Fatalf("of a name that was deleted: %v", err)
	}
	st.want("dst", v, c)
}

func (s suite) changeIfVersion(t *testing.T, ch change) {
	st, c := s.open(t), content{1, 100}
	src := st.put("src", c)
	gone := st.put("gone", c)
	if err := st.Delete(st.ctx, "gone", anything); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gone", "never there"} {
		for _, v := range []backend.Version{gone, src, "nonsense"} {
			_, err := ch.try(st, name, src, c, ifVersion(v))
			wantError(t, ch.name+" if version, of a name that is not there", err, atrest.ErrConflict)
			st.wantMissing(name)
		}
	}
	old := st.put("dst", c)
	v, err := ch.try(st, "dst", src, c, ifVersion(old))
	if err != nil {
		t.Fatalf("of the current version: %v", err)
	}
	st.want("dst", v, c)
	_, err = ch.try(st, "dst", src, content{2, 50}, ifVersion(old))
	wantError(t, ch.name+" of a version that was replaced", err, atrest.ErrConflict)
	st.want("dst", v, c)

	// SetHeader keeps the version, and with it the condition met.
	header := []byte("another header")
	if err := st.SetHeader(st.ctx, backend.HeaderUpdate{Name: "dst", Version: v, Old: c.header(), New: header}); err != nil {
		t.Fatal(err)
	}
	if v, err = ch.try(st, "dst", src, c, ifVersion(v)); err != nil {
		t.Fatalf("of the current version, after SetHeader: %v", err)
	}
	st.want("dst", v, c)
}

func (s suite) testDeleteIf(t *testing.T) {
	t.Parallel()
	st, c := s.open(t), content{1, 100}
	old := st.put("name", c)
	v := st.put("name", c)
	for _, wrong := range []backend.Version{old, "nonsense"} {
		err := st.Delete(st.ctx, "name", ifVersion(wrong))
		wantError(t, "Delete of a version that is not current", err, atrest.ErrConflict)
	}
	st.want("name", v, c)
	for range 2 {
		if err := st.Delete(st.ctx, "name", ifVersion(v)); err != nil {
			t.Fatalf("Delete of the current version, or of a missing name: %v", err)
		}
		st.wantMissing("name")
	}
	if err := st.Delete(st.ctx, "never there", ifVersion(v)); err != nil {
		t.Fatalf("Delete of some version of a missing name: %v", err)
	}
}

// testNoDeleteIf is [suite.testNoConditions] for an engine that lacks conditions
// on deletions alone. The version that is current is the one that it must not be
// tempted by.
func (s suite) testNoDeleteIf(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	for _, c := range []content{{1, 0}, {2, 100}, {3, 6 * mib}} {
		old := st.put("name", c)
		v := st.put("name", c)
		for _, cond := range []backend.Version{v, old, "nonsense"} {
			err := st.Delete(st.ctx, "name", ifVersion(cond))
			wantError(t, "Delete with a condition", err, atrest.ErrUnsupported)
			st.want("name", v, c)
		}
		st.wantNames("", "", "name")
	}
	for range 2 {
		if err := st.Delete(st.ctx, "name", anything); err != nil {
			t.Fatalf("Delete without a condition: %v", err)
		}
		st.wantMissing("name")
	}
}

// wantDeleted fails the test unless name is gone after a Delete that was not alone
// or, where that may lose, still is c, of this version, and can be deleted.
func (s suite) wantDeleted(st store, name string, v backend.Version, c content) {
	st.t.Helper()
	if s.DeleteMayLose {
		found, w, err := checkWhole(st.ctx, st, name)
		switch {
		case errors.Is(err, atrest.ErrNotFound):
			return
		case err != nil || found != c || w != v:
			st.t.Fatalf("after a Delete that lost, there is content %+v of version %q, error %v; want %+v of version %q", found, w, err, c, v)
		}
		if err := st.Delete(st.ctx, name, anything); err != nil {
			st.t.Fatalf("Delete after one that lost: %v", err)
		}
	}
	st.wantMissing(name)
}

// testLargePutIf has bodies that engines take in parts.
func (s suite) testLargePutIf(t *testing.T) {
	t.Parallel()
	st, c := s.open(t), content{1, 7 * mib}
	v, err := st.Put(st.ctx, "name", c.header(), c.reader(), ifAbsent)
	if err != nil {
		t.Fatal(err)
	}
	d := content{2, 7 * mib}
	_, err = st.Put(st.ctx, "name", d.header(), d.reader(), ifAbsent)
	wantError(t, "Put if absent of a large body", err, atrest.ErrExists)
	_, err = st.Put(st.ctx, "name", d.header(), d.reader(), ifVersion("nonsense"))
	wantError(t, "Put if version of a large body", err, atrest.ErrConflict)
	st.want("name", v, c)
	w, err := st.Put(st.ctx, "name", d.header(), d.reader(), ifVersion(v))
	if err != nil {
		t.Fatal(err)
	}
	st.want("name", w, d)
}
