package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/atrest/atrest/backend"
)

func (s suite) testList(t *testing.T) {
	t.Run("Empty", func(t *testing.T) {
		t.Parallel()
		st := s.open(t)
		st.wantNames("", "")
		st.wantNames("prefix/", "")
		st.wantNames("", "after")
	})
	t.Run("Many", s.testListMany)
	t.Run("Changing", s.testListChanging)
	t.Run("Prefixes", s.testPrefixes)
	t.Run("Large", func(t *testing.T) {
		t.Parallel()
		st, c := s.open(t), content{1, 6*mib + 1}
		v := st.put("large", c)
		list, err := entries(st.ctx, st, "", "")
		if err != nil || len(list) != 1 {
			t.Fatalf("%d entries and error %v", len(list), err)
		}
		if err := s.checkEntry(list[0], "large", v, c.header(), c.size); err != nil {
			t.Error(err)
		}
	})
}

// checkEntry compares all that an entry has.
func (s suite) checkEntry(e backend.Entry, name string, v backend.Version, header []byte, size int64) error {
	if s.ListWithoutHeaders {
		if e.Header != nil {
			return fmt.Errorf("the entry %.80q has the header %.60q, against the Config", e.Name, e.Header)
		}
		header = nil
	}
	if e.Name != name || !s.rightVersion(e, v) || e.Size != size || !bytes.Equal(e.Header, header) {
		return fmt.Errorf("the entry %.80q has version %q, size %d and header %.60q; want %.80q with version %q, size %d and header %.60q",
			e.Name, e.Version, e.Size, e.Header, name, v, size, header)
	}
	return nil
}

// rightVersion reports whether an entry may have been listed for version v.
func (s suite) rightVersion(e backend.Entry, v backend.Version) bool {
	return e.Version == v || e.Version == "" && s.ListWithoutHeaders
}

// manyNames are more than an S3 server lists at a time, in some folders and
// with sizes of names that vary.
func manyNames() []string {
	var names []string
	for i := range 1200 {
		name := fmt.Sprintf("team%d/app %d/%x.json", i%3, i%7, i*i)
		if i%5 == 0 {
			name = fmt.Sprint(i, "/", strings.Repeat("x", i%300))
		}
		names = append(names, name)
	}
	return names
}

// testListMany reads one large store in all ways.
func (s suite) testListMany(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	names := manyNames()
	versions := st.putAll(names)
	sorted := inOrder(names, "", "")
	number := make(map[string]int)
	for i, name := range names {
		number[name] = i
	}
	run := func(name string, f func(st store)) {
		t.Run(name, func(t *testing.T) { f(store{st.Blobs, t, t.Context()}) })
	}
	run("entries", func(st store) {
		list, err := entries(st.ctx, st, "", "")
		if err != nil || len(list) != len(sorted) {
			st.t.Fatalf("%d entries and error %v; want %d", len(list), err, len(sorted))
		}
		for k, e := range list {
			i := number[sorted[k]]
			if err := s.checkEntry(e, sorted[k], versions[i], numbered(i).header(), numbered(i).size); err != nil {
				st.t.Fatalf("entry %d: %v", k, err)
			}
		}
	})
	run("prefix", func(st store) {
		for _, prefix := range []string{"t", "team1", "team1/", "team1/app ", "team2/app 3/", "1", "15/xxx", "team1/app 1/1", "u", "\U0010ffff"} {
			st.wantNames(prefix, "", inOrder(names, prefix, "")...)
		}
	})
	run("after", func(st store) {
		for k := 0; k < len(sorted); k += 97 {
			st.wantNames("", sorted[k], sorted[k+1:]...)
		}
		for _, after := range []string{sorted[0], sorted[len(sorted)-1], "team1", "team1/", "team1/app 2", "a", "~", "0", "zzz"} {
			st.wantNames("", after, inOrder(names, "", after)...)
			for _, prefix := range []string{"team1/", "team1", "15/x"} {
				st.wantNames(prefix, after, inOrder(names, prefix, after)...)
			}
		}
	})
	run("stop", func(st store) {
		for stop := 1; stop <= len(sorted); stop += 173 {
			st.listInPieces(sorted, stop)
		}
	})
	run("twice", func(st store) {
		seq := st.List(st.ctx, "team0/", "")
		for range 2 {
			want := inOrder(names, "team0/", "")
			for e, err := range seq {
				if err != nil || len(want) == 0 || e.Name != want[0] {
					st.t.Fatalf("entry %.80q, error %v; want the first of the remaining %d", e.Name, err, len(want))
				}
				want = want[1:]
			}
			if len(want) > 0 {
				st.t.Fatalf("%d entries are missing, the first is %q", len(want), want[0])
			}
		}
	})
	for _, e := range endings {
		run(e.name, func(st store) { st.cancelList(e) })
	}
}

// listInPieces breaks off after each piece and resumes after its last name.
func (st store) listInPieces(want []string, piece int) {
	st.t.Helper()
	after, k := "", 0
	for k < len(want) {
		n := 0
		for e, err := range st.List(st.ctx, "", after) {
			if err != nil {
				st.t.Fatal(err)
			}
			if e.Name != want[k] {
				st.t.Fatalf("in pieces of %d: entry %d is %.80q, not %.80q", piece, k, e.Name, want[k])
			}
			k, n, after = k+1, n+1, e.Name
			if n == piece {
				break
			}
		}
		if n == 0 {
			st.t.Fatalf("in pieces of %d: the listing ends after %d entries, not %d", piece, k, len(want))
		}
	}
}

// cancelList ends the context in the middle.
func (st store) cancelList(e ending) {
	ctx, end := e.begin(st.ctx)
	defer end()
	n, failed := 0, error(nil)
	for _, err := range st.List(ctx, "", "") {
		if failed != nil {
			st.t.Fatalf("the listing goes on after its error %v", failed)
		}
		if n++; n == 10 {
			end()
		}
		failed = err
	}
	if !errors.Is(failed, e.want) {
		st.t.Errorf("a listing whose context ended at its tenth entry: %d pairs, error %v; want %q", n, failed, e.want)
	}
}

// testListChanging has a consumer that changes what it lists, and others.
func (s suite) testListChanging(t *testing.T) {
	for _, consumer := range []struct {
		name string
		left func(i int, name string) bool
		do   func(ctx context.Context, b backend.Blobs, i int, e backend.Entry) error
	}{
		{"Delete", func(int, string) bool { return false },
			func(ctx context.Context, b backend.Blobs, _ int, e backend.Entry) error {
				return b.Delete(ctx, e.Name, backend.Condition{})
			}},
		{"DeleteSome", func(i int, _ string) bool { return i%3 != 0 },
			func(ctx context.Context, b backend.Blobs, i int, e backend.Entry) error {
				if i%3 != 0 {
					return nil
				}
				return b.Delete(ctx, e.Name, backend.Condition{})
			}},
		{"SetHeader", func(int, string) bool { return true }, setHeaderOfEntry},
		{"Overwrite", func(int, string) bool { return true },
			func(ctx context.Context, b backend.Blobs, i int, e backend.Entry) error {
				c := content{uint64(1000 + i), 30}
				_, err := b.Put(ctx, e.Name, c.header(), c.reader(), backend.Condition{})
				return err
			}},
		{"PutOthers", func(int, string) bool { return true },
			func(ctx context.Context, b backend.Blobs, i int, e backend.Entry) error {
				c := content{uint64(1000 + i), 30}
				_, err := b.Put(ctx, fmt.Sprintf("%s/new %d", []string{"a", "z"}[i%2], i), c.header(), c.reader(), backend.Condition{})
				return err
			}},
	} {
		t.Run(consumer.name, func(t *testing.T) {
			t.Parallel()
			st := s.open(t)
			var names, left []string
			for i := range 60 {
				names = append(names, fmt.Sprintf("m/%02d", i))
				if consumer.left(i, names[i]) {
					left = append(left, names[i])
				}
			}
			st.putAll(names)
			s.within(t, "a listing whose consumer makes changes", func() {
				if err := st.consume(names, consumer.do); err != nil {
					t.Error(err)
				}
			})
			st.wantNames("m/", "", left...)
		})
	}
}

// consume lists the names and does something with each.
func (st store) consume(names []string, do func(context.Context, backend.Blobs, int, backend.Entry) error) error {
	i := 0
	for e, err := range st.List(st.ctx, "m/", "") {
		if err != nil {
			return err
		}
		if i >= len(names) || e.Name != names[i] {
			return fmt.Errorf("entry %d is %.80q; want each of %d names once, in order", i, e.Name, len(names))
		}
		if err := do(st.ctx, st, i, e); err != nil {
			return fmt.Errorf("change made at entry %d, %q: %w", i, e.Name, err)
		}
		i++
	}
	if i != len(names) {
		return fmt.Errorf("the listing ends after %d entries, not %d", i, len(names))
	}
	return nil
}

// setHeaderOfEntry is what a rewrap does to each.
func setHeaderOfEntry(ctx context.Context, b backend.Blobs, _ int, e backend.Entry) error {
	o, err := b.Get(ctx, e.Name, backend.Range{}, e.Version)
	if err != nil {
		return err
	}
	defer o.Body.Close()
	header := append(bytes.Clone(o.Header), "; a note"...)
	return b.SetHeader(ctx, backend.HeaderUpdate{Name: e.Name, Version: o.Version, Old: o.Header, New: header})
}

// testPrefixes has names whose order as they are is another than their order
// when escaped.
func (s suite) testPrefixes(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	names := []string{
		"a", "a/", "a//", "a/b", "a/b/c", "a b", "a!b", "a%b", "a-b", "a.b", "a.", "a0", "aé", "a🔑", "ab", "a~", "a_b", "A",
		".", "..", "../a", "/", "//", "/a", "é", "e\u0301", "!", "!2E", "z", "\\", "~",
		strings.Repeat("x", 219), strings.Repeat("x", 220), strings.Repeat("x", 221), strings.Repeat("x", 220) + "/y",
	}
	st.putAll(names)
	probes := append(names, "", "a/b/", "a/b/c/d", "a\n", "b", "x", strings.Repeat("x", 222), "e", ".a", "\x01", "\U0010ffff")
	for _, prefix := range probes {
		st.wantNames(prefix, "", inOrder(names, prefix, "")...)
		for _, after := range probes {
			if s.Slow && len(prefix) != 1 {
				continue
			}
			st.wantNames(prefix, after, inOrder(names, prefix, after)...)
		}
	}
}
