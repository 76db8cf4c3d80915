package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestProgram measures a few things that need no server but Vault.
func TestProgram(t *testing.T) {
	const run = `^(body/decrypt/64KiB/|small/(put|get)/(memory|disk)/8/|large/put/disk/|range/disk/|growth/objects/list/disk/)`
	dir, page := t.TempDir(), filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("# Page\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	list := runProgram(t, "-quick", "-list", "-run", run)
	want := strings.Fields(list)
	if len(want) < 20 {
		t.Fatalf("%d names: %v", len(want), want)
	}
	var names []string
	for line := range strings.Lines(runProgram(t, "-quick", "-rounds", "1", "-dir", dir, "-json", "-write", page, "-run", run)) {
		var r result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if r.Ours <= 0 || r.Theirs <= 0 || r.Ratio <= 0 || r.Goal != goalOf(r.Name) {
			t.Errorf("%+v", r)
		}
		names = append(names, r.Name)
	}
	if !slices.Equal(names, want) {
		t.Errorf("measured %v, listed %v", names, want)
	}
	written, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range append(want, beginMarker, endMarker, "Vault", "Processor") {
		if !bytes.Contains(written, []byte(text)) {
			t.Errorf("the page says nothing of %q", text)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("%v was left, %v", left, err)
	}
}

func runProgram(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	s, err := parse(args, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	if err := execBench(t.Context(), s, &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	return stdout.String()
}

func TestBadCommandLines(t *testing.T) {
	for _, args := range [][]string{{"-run", "("}, {"-rounds", "-1"}, {"something"}, {"-nothing"}} {
		if _, err := parse(args, new(bytes.Buffer)); err == nil {
			t.Errorf("%q was understood", args)
		}
	}
	s, err := parse([]string{"-run", "^nothing$"}, new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	if err := execBench(t.Context(), s, new(bytes.Buffer), new(bytes.Buffer)); err == nil {
		t.Error("nothing was measured, without an error")
	}
}
