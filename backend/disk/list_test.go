package disk

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/atrest/atrest/backend"
	"pgregory.net/rapid"
)

// names are built so that components that are objects, directories, or
// beginnings of each other meet often.
var nameGen = rapid.Custom(func(t *rapid.T) string {
	part := rapid.SampledFrom([]string{"a", "b", "/", ".", "-", "!", " ", "a!", "é", "0", "~", strings.Repeat("x", 219), "//"})
	return strings.Join(rapid.SliceOfN(part, 1, 6).Draw(t, "parts"), "")
})

// TestListOrder compares listings of random names, from random places, with the
// sorted escaped names.
func TestListOrder(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		s := freshStore(t, dir)
		defer s.Close()
		var all []string
		for _, name := range rapid.SliceOfNDistinct(nameGen, 1, 25, rapid.ID).Draw(t, "names") {
			escaped, err := backend.Escape(name)
			if err != nil {
				continue
			}
			plant(t, s, escaped)
			all = append(all, escaped)
		}
		slices.Sort(all)
		prefix := rapid.OneOf(rapid.Just(""), nameGen).Draw(t, "prefix")
		after := rapid.OneOf(rapid.Just(""), nameGen).Draw(t, "after")
		escapedPrefix, _ := backend.EscapePrefix(prefix)
		escapedAfter, _ := backend.EscapePrefix(after)
		var want, got []string
		for _, e := range all {
			if strings.HasPrefix(e, escapedPrefix) && e > escapedAfter {
				want = append(want, e)
			}
		}
		for e, err := range s.List(t.Context(), prefix, after) {
			if err != nil {
				t.Fatal(err)
			}
			escaped, err := backend.Escape(e.Name)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, escaped)
		}
		if !slices.Equal(got, want) {
			t.Errorf("prefix %q, after %q:\n%q, want\n%q", prefix, after, got, want)
		}
	})
}

// freshStore opens a store below dir, of its own for each try of rapid, which
// may end one anywhere.
func freshStore(t *rapid.T, dir string) *Store {
	sub, err := os.MkdirTemp(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), Config{Dir: sub})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// plant makes a header file without the fsyncs of a put.
func plant(t interface{ Fatal(...any) }, s *Store, escaped string) {
	rec := record{id: newBodyID(), inline: true}
	err := s.makeDirs(headerDir(escaped))
	if err == nil {
		err = s.root.WriteFile(headerPath(escaped), rec.marshal(nil), fileMode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestListLargeDirectory lists a directory of more than one batch, deleting
// what it sees.
func TestListLargeDirectory(t *testing.T) {
	s := openStore(t, Config{Dir: t.TempDir() + "/store"})
	const n = 2*listBatch + 5000
	for i := range n {
		plant(t, s, "d/"+newBodyID().String()[:8+i%9])
	}
	last, seen := "", 0
	for e, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Name <= last {
			t.Fatalf("%q after %q", e.Name, last)
		}
		last = e.Name
		if seen++; seen%100 == 0 {
			if err := s.root.Remove(headerPath(e.Name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if seen != n {
		t.Errorf("%d entries of %d", seen, n)
	}
}

// TestComponents divides characters of each length, and with each bound on their
// second byte, at each of their bytes: every directory of an escaped name is one.
func TestComponents(t *testing.T) {
	divided := 0
	for _, char := range []string{"é", "\u07ff", "\u0800", "\u0fff", "€", "\ud7ff", "\uffff", "\U00010000", "🔑", "\U0010ffff"} {
		for n := range 12 {
			name := strings.Repeat("a", n) + strings.Repeat(char, 66)
			escaped, err := backend.Escape(name)
			if err != nil {
				t.Fatal(err)
			}
			for i := range len(escaped) {
				if escaped[i] != '/' {
					continue
				}
				divided++
				if !isComponents(escaped[:i]) {
					t.Errorf("%q, after %d bytes of %q", char, i, escaped)
				}
			}
		}
	}
	if divided < 200 {
		t.Errorf("only %d places were tried", divided)
	}
	for _, dir := range []string{"a!", "a!-", "!", "!80", "a!C3", "a!2e", ".a", "a/!-"} {
		if isComponents(dir) {
			t.Errorf("%q is taken for a directory of ours", dir)
		}
	}
}
