package s3_test

import (
	"os"
	"strings"
	"testing"
)

// TestReadme: the code that the README shows is that of the example, which compiles.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	has := make(map[string]bool)
	for line := range strings.Lines(string(example)) {
		has[strings.TrimSpace(line)] = true
	}
	_, block, found := strings.Cut(string(readme), "```go\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed || len(strings.Fields(block)) < 20 {
		t.Fatal("the README shows no code")
	}
	for line := range strings.Lines(block) {
		if line = strings.TrimSpace(line); line != "" && !has[line] {
			t.Errorf("the example does not have the line %q", line)
		}
	}
}
