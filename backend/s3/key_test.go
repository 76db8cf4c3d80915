package s3

import (
	"slices"
	"strings"
	"testing"

	"github.com/atrest/atrest/backend"
)

// TestKeys checks that keys are as many as names, and in their order.
func TestKeys(t *testing.T) {
	s := &Store{cfg: Config{Prefix: "some/prefix/"}}
	names := []string{"a", "a/", "a/b", "a//b", "a!", "a!!", "a.", "a-", "a0", "..", ".", "é", "a b", "\x01", "a\x01", "probe-", "!probe-"}
	for _, n := range []int{219, 220, 221, 239, 240, 241, 260, 440, 888} {
		x := strings.Repeat("x", n)
		names = append(names, x, x+"/", x+"/y", x+"!", x+".", x+"0", x+" ", "dir/"+x)
	}
	type pair struct{ escaped, key string }
	var pairs []pair
	for _, name := range names {
		escaped, err := backend.Escape(name)
		if err != nil {
			continue // too long
		}
		key, err := s.key(name)
		if err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, pair{escaped, key})
		back, again, ok := s.parseKey(key)
		if !ok || back != name || again != escaped {
			t.Errorf("the key %q of %q is parsed as %q, %v", key, name, back, ok)
		}
		for c := range strings.SplitSeq(key, "/") {
			if len(c) == 0 || len(c) > 246 {
				t.Errorf("the key of %.20q has a component of %d bytes", name, len(c))
			}
		}
		// What VersityGW can replace; see maxComponent in package backend.
		if last := key[strings.LastIndexByte(key, '/')+1:]; len(last) > 227 {
			t.Errorf("the key of %.20q has a last component of %d bytes", name, len(last))
		}
		if len(key) > 1024 {
			t.Errorf("the key of %.20q has %d bytes", name, len(key))
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	if !slices.IsSortedFunc(pairs, func(a, b pair) int { return strings.Compare(a.escaped, b.escaped) }) {
		t.Error("keys do not sort as escaped names do")
	}
	long := strings.Repeat("x", 230)
	for _, key := range []string{"", "a!", "some/prefix/", "some/prefix/!", "some/prefix/a", "some/prefix/a!!", "some/prefix/a!!/!",
		"some/prefix/" + long + "!", "some/prefix/!probe-ABC!", "other/prefix/a!"} {
		if name, _, ok := s.parseKey(key); ok {
			t.Errorf("the key %q is parsed as %q", key, name)
		}
	}
}
