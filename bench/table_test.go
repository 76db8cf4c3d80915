package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMissedGoals are marked, and others are not.
func TestMissedGoals(t *testing.T) {
	text := table([]result{
		{Name: "a/missed", Ratio: 0.5, Goal: 0.9},
		{Name: "a/met", Ratio: 0.9, Goal: 0.9},
		{Name: "b/none", Ratio: 0.1},
	})
	for line := range strings.Lines(text) {
		if strings.Contains(line, "**missed**") != strings.Contains(line, "a/missed") {
			t.Errorf("%s", line)
		}
	}
	if strings.Count(text, "\n### ") != 2 {
		t.Errorf("not one heading a family:\n%s", text)
	}
}

func TestFigures(t *testing.T) {
	for f, want := range map[float64]string{0.0123456: "0.0123", 1.5: "1.5", 99.94: "99.9", 100: "100", 1234567: "1,234,567", 999.6: "1,000"} {
		if got := figure(f); got != want {
			t.Errorf("%v: %s, want %s", f, got, want)
		}
	}
}

// TestWriteInto: what is between the markers is replaced, and nothing else.
func TestWriteInto(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	begin, end := beginMarker+"\n", "\n"+endMarker
	for _, test := range []struct{ name, old, want string }{
		{"old table", "before\n" + begin + "old" + end + "\nafter\n", "before\n" + begin + "new" + end + "\nafter\n"},
		{"no table", "before\n\n", "before\n\n## Side by side\n\n" + begin + "new" + end + "\n"},
	} {
		if err := os.WriteFile(path, []byte(test.old), 0o600); err != nil {
			t.Fatal(err)
		}
		// The second time it finds what it has written.
		for range 2 {
			if err := writeInto(path, "new"); err != nil {
				t.Fatal(err)
			}
			if got, _ := os.ReadFile(path); string(got) != test.want {
				t.Errorf("%s: %q, want %q", test.name, got, test.want)
			}
		}
	}
	for _, broken := range []string{begin, endMarker, endMarker + "\n" + begin} {
		if err := os.WriteFile(path, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := writeInto(path, "new"); err == nil {
			t.Errorf("%q was written to", broken)
		}
	}
}
