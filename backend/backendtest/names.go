package backendtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// invalidNames are refused by every method. An empty prefix is valid.
var invalidNames = []string{
	"", "\x00", "a\x00b", "\xff", "a\xc3", "\xed\xa0\x80", "\xc0\xaf",
	strings.Repeat("x", 892), strings.Repeat("x", 2000), strings.Repeat("x/", 451), strings.Repeat("é", 151),
}

// oddNames are valid, all at once in one store.
var oddNames = slices.Concat([]string{
	// What file systems and URLs give a meaning to.
	".", "..", "...", "../x", "../../etc/passwd", "./y", "a/../b", "a/./b", "/", "//", "///", "/a", "//a",
	"a//b", "a///b", "a/", "a//", "a/b/", "~", "~root", "$HOME", "-rf", "--", "*", "?", "a?b=c", "a#b", "a&b",
	"%", "%2F", "%2e%2e", "a%00b", "a+b", "a b", " ", "  ", " a", "a ", "a.", "a..", "a:b", "C:\\x", "\\", "a\\b",
	"\\\\server\\share", "\n", "a\nb", "\r\n", "\t", "\x01", "\x1b[31m", "\x7f", "'", "\"", "`", "<>|", "{}", "[]", "^", ";",
	// What the escaping gives a meaning to.
	"!", "!!", "!2F", "!2f", "a!2Fb", "!-/", "a!-/b", "a!", "a!/b", "a!/", "!2Ex", "=", "_", "-",
	// An object where others have a folder, and what sorts near it.
	"dir", "dir/", "dir//", "dir/file", "dir/file/x", "dir/file/", "dir!", "dir!/x", "dir-", "dir.", "dir.x", "dir0", "di", "dir\x01",
	// Names that differ only to those who look closely.
	"Name", "name", "NAME", "é", "e\u0301", "É", "ß", "ss", "ﬁ", "fi", "İ", "i", "I", "ı", "Å", "\u212b", "A\u030a",
	"🔑", "👩‍👩‍👧", "日本語", "עברית", "\u200b", "\ufeff", "\u202ex", "\ufffd", "\U0010ffff",
	// What Windows reserves.
	"CON", "con", "NUL", "PRN.txt", "COM1", "LPT1", "aux", "a:$DATA",
	// What an engine may call its own files.
	"tmp", ".tmp", "tmp/x", "x.tmp", ".x.tmp", "x.tmp123", "x~", "x.bak", "x.swp", "x.part", "x.lock", "lock", "LOCK", ".lock",
	".git", ".DS_Store", "lost+found", "objects", "objects/aa", "bodies", "bodies/x", "body", "x.body", "headers", "header", "x.header",
	"x.hdr", "x.meta", "meta", "meta.json", ".minio.sys", ".sgwtmp", "xl.meta", "index.html", "null", "true", "0", "1",
	"atrest", ".atrest", "x.json", "x.json.1", "x.1", "x.2",
}, longNames())

// longNames are at the edges of what file systems allow to a component, and of
// what the escaping allows to a name.
func longNames() []string {
	var names []string
	for _, n := range []int{219, 220, 221, 222, 223, 224, 225, 227, 228, 240, 254, 255, 256, 300, 440, 441, 888} {
		names = append(names, strings.Repeat("x", n))
	}
	x220 := strings.Repeat("x", 220)
	return append(names,
		x220+"/", x220+"/y", x220+"y/z", x220+"!", x220+".", x220+"y.", x220+"é",
		strings.Repeat("é", 50), strings.Repeat("🔑", 74), strings.Repeat("/", 299),
		strings.Repeat("x/", 450), strings.Repeat("deep/", 179)+"leaf",
	)
}

func (s suite) testNames(t *testing.T) {
	t.Run("Invalid", s.testInvalidNames)
	t.Run("Odd", s.testOddNames)
	// Some alone as well: beside others, they might lean on their folders.
	for title, name := range map[string]string{
		"in a folder": "dir/file", "double slash": "a//b", "parent": "..", "temporary": "x.tmp", "long": strings.Repeat("x", 300),
	} {
		t.Run("Alone "+title, func(t *testing.T) {
			t.Parallel()
			st, c := s.open(t), content{5, 300}
			st.want(name, st.put(name, c), c)
			st.wantNames("", "", name)
			if err := st.Delete(st.ctx, name, backend.Condition{}); err != nil {
				t.Fatal(err)
			}
			st.wantMissing(name)
			st.wantNames("", "")
		})
	}
}

func (s suite) testInvalidNames(t *testing.T) {
	t.Parallel()
	st, c := s.open(t), content{1, 10}
	v := st.put("valid", c)
	for _, name := range invalidNames {
		what := fmt.Sprintf("%.20q (%d bytes)", name, len(name))
		_, err := st.Put(st.ctx, name, nil, untouchable(t.Errorf), backend.Condition{})
		wantError(t, "Put of "+what, err, atrest.ErrInvalidName)
		_, err = st.Get(st.ctx, name, backend.All, "")
		wantError(t, "Get of "+what, err, atrest.ErrInvalidName)
		err = st.SetHeader(st.ctx, backend.HeaderUpdate{Name: name, Version: v, Old: c.header()})
		wantError(t, "SetHeader of "+what, err, atrest.ErrInvalidName)
		_, err = st.Copy(st.ctx, name, "valid", v, nil, backend.Condition{})
		wantError(t, "Copy to "+what, err, atrest.ErrInvalidName)
		_, err = st.Copy(st.ctx, "copy", name, v, nil, backend.Condition{})
		wantError(t, "Copy from "+what, err, atrest.ErrInvalidName)
		err = st.Delete(st.ctx, name, backend.Condition{})
		wantError(t, "Delete of "+what, err, atrest.ErrInvalidName)
		if name != "" {
			st.wantListError("List of prefix "+what, st.ctx, name, "", atrest.ErrInvalidName)
			st.wantListError("List after "+what, st.ctx, "", name, atrest.ErrInvalidName)
		}
	}
	st.wantNames("", "", "valid")
	st.want("valid", v, c)
}

// testOddNames puts them all into one store, where they must not meet.
func (s suite) testOddNames(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	names := slices.Clone(oddNames)
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	versions := st.putAll(names)
	t.Run("coexist", func(t *testing.T) {
		for i, name := range names {
			if err := check(t.Context(), st, name, versions[i], numbered(i).header(), numbered(i)); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("are listed", func(t *testing.T) {
		st := store{st.Blobs, t, t.Context()}
		st.wantNames("", "", inOrder(names, "", "")...)
		for _, name := range names {
			st.wantNames(name, "", inOrder(names, name, "")...)
		}
	})
	t.Run("are copied and have their headers set", func(t *testing.T) {
		for i, name := range names {
			if err := moveHeader(t.Context(), st, name, versions[i], numbered(i)); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("are deleted one by one", func(t *testing.T) {
		st := store{st.Blobs, t, t.Context()}
		for i, name := range names {
			if err := st.Delete(st.ctx, name, backend.Condition{}); err != nil {
				t.Fatalf("Delete(%.80q): %v", name, err)
			}
			st.wantMissing(name)
			// A whole listing each time would take long, and finds what went with
			// another a few names later as well.
			if left := names[i+1:]; len(left)%20 == 0 {
				st.wantNames("", "", inOrder(left, "", "")...)
			}
		}
	})
}

// numbered is the i-th of many small contents.
func numbered(i int) content { return content{uint64(i), 20 + int64(i)} }

// putAll puts the i-th numbered content under the i-th name, several at once.
func (st store) putAll(names []string) []backend.Version {
	st.t.Helper()
	versions := make([]backend.Version, len(names))
	const workers = 8
	for _, err := range all(workers, func(w int) error {
		for i := w; i < len(names); i += workers {
			c := numbered(i)
			v, err := st.Put(st.ctx, names[i], c.header(), c.reader(), backend.Condition{})
			if err != nil {
				return fmt.Errorf("Put(%.80q): %w", names[i], err)
			}
			versions[i] = v
		}
		return nil
	}) {
		if err != nil {
			st.t.Fatal(err)
		}
	}
	return versions
}

// moveHeader sets another header and takes it back, by way of a copy, which it
// deletes.
func moveHeader(ctx context.Context, b backend.Blobs, name string, v backend.Version, c content) error {
	header := []byte("another header")
	if err := b.SetHeader(ctx, backend.HeaderUpdate{Name: name, Version: v, Old: c.header(), New: header}); err != nil {
		return fmt.Errorf("SetHeader(%.80q): %w", name, err)
	}
	if err := check(ctx, b, name, v, header, c); err != nil {
		return err
	}
	w, err := b.Copy(ctx, "the copy", name, v, c.header(), backend.Condition{})
	if err != nil {
		return fmt.Errorf("copying from %.80q: %w", name, err)
	}
	if v, err = b.Copy(ctx, name, "the copy", w, c.header(), backend.Condition{}); err != nil {
		return fmt.Errorf("copying to %.80q: %w", name, err)
	}
	if err := b.Delete(ctx, "the copy", backend.Condition{}); err != nil {
		return fmt.Errorf("deleting the copy of %.80q: %w", name, err)
	}
	return check(ctx, b, name, v, c.header(), c)
}

// inOrder returns those names that a listing would, in its order.
func inOrder(names []string, prefix, after string) []string {
	var keys []string
	low, _ := backend.EscapePrefix(after)
	for _, name := range names {
		key, err := backend.Escape(name)
		if err != nil {
			panic(err) // a mistake in this suite
		}
		if strings.HasPrefix(name, prefix) && key > low {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for i, key := range keys {
		keys[i], _ = backend.Unescape(key)
	}
	return keys
}

// wantNames fails the test unless the listing has exactly these names, in this
// order.
func (st store) wantNames(prefix, after string, want ...string) {
	st.t.Helper()
	list, err := entries(st.ctx, st, prefix, after)
	if err != nil {
		st.t.Fatalf("List(%.40q, %.40q): %v", prefix, after, err)
	}
	for i, e := range list {
		if i >= len(want) {
			st.t.Fatalf("List(%.40q, %.40q) has %d entries, not %d; the first too many is %.80q", prefix, after, len(list), len(want), e.Name)
		}
		if e.Name != want[i] {
			st.t.Fatalf("List(%.40q, %.40q): entry %d is %.80q, not %.80q", prefix, after, i, e.Name, want[i])
		}
	}
	if len(list) < len(want) {
		st.t.Fatalf("List(%.40q, %.40q) has %d entries, not %d; the first missing is %.80q", prefix, after, len(list), len(want), want[len(list)])
	}
}

// wantListError fails the test unless the listing is one error, at its end.
func (st store) wantListError(what string, ctx context.Context, prefix, after string, want error) {
	st.t.Helper()
	pairs := 0
	for e, err := range st.List(ctx, prefix, after) {
		pairs++
		if err == nil {
			st.t.Fatalf("%s: there is the entry %.80q instead of the error", what, e.Name)
		}
		wantError(st.t, what, err, want)
	}
	if pairs != 1 {
		st.t.Fatalf("%s: %d pairs instead of one", what, pairs)
	}
}
