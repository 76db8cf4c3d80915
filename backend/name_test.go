package backend_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"pgregory.net/rapid"
)

func TestEscape(t *testing.T) {
	x220 := strings.Repeat("x", 220)
	for name, want := range map[string]string{
		"team/app/state-1.json": "team/app/state-1.json",
		"a":                     "a",
		"A_b-c.d.e":             "A_b-c.d.e",
		"dir":                   "dir",
		"dir/file":              "dir/file",
		"a/":                    "a/",
		"/":                     "!2F",
		"//":                    "!2F/",
		"/a":                    "!2Fa",
		"a//b":                  "a/!2Fb",
		"a///b":                 "a/!2F/b",
		".":                     "!2E",
		"..":                    "!2E.",
		"../x":                  "!2E./x",
		"a/./b":                 "a/!2E/b",
		".env":                  "!2Eenv",
		`back\slash`:            "back!5Cslash",
		"new\nline":             "new!0Aline",
		"space bar":             "space!20bar",
		"100%":                  "100!25",
		"bang!":                 "bang!21",
		"é":                     "!C3!A9",
		"🔑":                     "!F0!9F!94!91",
		x220:                    x220,
		x220 + "/y":             x220 + "/y",
		x220 + "y":              x220 + "!-/y",
		x220 + "y/z":            x220 + "!-/y/z",
		x220 + ".":              x220 + "!-/!2E",
	} {
		got, err := backend.Escape(name)
		if err != nil || got != want {
			t.Errorf("Escape(%q) = %q, %v; want %q", name, got, err, want)
		}
		back, err := backend.Unescape(want)
		if err != nil || back != name {
			t.Errorf("Unescape(%q) = %q, %v; want %q", want, back, err, name)
		}
	}
}

func TestEscapeRefuses(t *testing.T) {
	for _, name := range []string{
		"", "\xff", "a\x00b", "a\xc3", strings.Repeat("x", 901), strings.Repeat("é", 151),
	} {
		if got, err := backend.Escape(name); !errors.Is(err, atrest.ErrInvalidName) {
			t.Errorf("Escape(%.20q) = %q, %v; want ErrInvalidName", name, got, err)
		}
	}
	if got, err := backend.EscapePrefix(""); got != "" || err != nil {
		t.Errorf("EscapePrefix of nothing = %q, %v", got, err)
	}
}

func TestUnescapeRefuses(t *testing.T) {
	for _, escaped := range []string{
		"", "!", "!2", "!2f", "a!2Fb", "!61", "a//b", ".", "./a", "/a", "a!-/b", "!GG", "é", "a b", "!00", "a!",
	} {
		if got, err := backend.Unescape(escaped); !errors.Is(err, atrest.ErrInvalidName) {
			t.Errorf("Unescape(%q) = %q, %v; want ErrInvalidName", escaped, got, err)
		}
	}
}

// names draws the awkward ones as well as the plain.
func names(t *rapid.T, label string) string {
	return rapid.StringOfN(rapid.RuneFrom([]rune("ab.-_/!\\%\n é🔑x")), 1, 400, -1).Draw(t, label)
}

func TestEscapeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name, tail := names(t, "name"), names(t, "tail")
		escaped, err := backend.Escape(name)
		if err != nil {
			return // too long
		}
		if back, err := backend.Unescape(escaped); err != nil || back != name {
			t.Fatalf("Unescape(%q) = %q, %v; want %q", escaped, back, err, name)
		}
		for component := range strings.SplitSeq(strings.TrimSuffix(escaped, "/"), "/") {
			if component == "" || component[0] == '.' || component[len(component)-1] == '!' || len(component) > 224 {
				t.Fatalf("%q has the component %q", escaped, component)
			}
		}
		if long, err := backend.Escape(name + tail); err == nil && !strings.HasPrefix(long, escaped) {
			t.Fatalf("%q is not a prefix of %q", escaped, long)
		}
	})
}

func FuzzUnescape(f *testing.F) {
	for _, seed := range []string{"team/app/state-1.json", "!2E./x", "a/!2Fb", strings.Repeat("x", 220) + "!-/y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		name, err := backend.Unescape(escaped)
		if err != nil {
			return
		}
		again, err := backend.Escape(name)
		if err != nil || again != escaped {
			t.Fatalf("Escape(Unescape(%q)) = %q, %v", escaped, again, err)
		}
	})
}
