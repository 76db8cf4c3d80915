package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
)

// The table of a page is between these.
const (
	beginMarker = "<!-- bench:begin -->"
	endMarker   = "<!-- bench:end -->"
)

// table shows results, in Markdown, those of each family under a heading.
func table(results []result) string {
	var b strings.Builder
	family := ""
	for _, r := range results {
		if first, _, _ := strings.Cut(r.Name, "/"); first != family {
			family = first
			cost := "processor time, µs: ours; theirs"
			if hasMemory(family) {
				cost = "allocations, bytes an operation: ours; theirs"
			}
			fmt.Fprintf(&b, "\n### %s\n\n", family)
			fmt.Fprintf(&b, "| name | ours | theirs | unit | ratio | goal | against | what | %s |\n", cost)
			fmt.Fprintf(&b, "|%s\n", strings.Repeat("---|", 9))
		}
		fmt.Fprintln(&b, r.row())
	}
	return b.String()
}

// ratios shows those of one comparison in a line.
func ratios(c comparison, results []result) string {
	var b strings.Builder
	for i, r := range results {
		fmt.Fprintf(&b, " %s %s", figure(r.Ratio), c.others[i].name)
		if r.missed() {
			b.WriteString(" (missed)")
		}
	}
	return b.String()
}

// hasMemory are the families of which allocations are worth showing, since no client of a
// server is part of it. Of the others it is the processor time that tells who does the work.
func hasMemory(family string) bool { return family == "body" || family == "segment" }

func (r *result) row() string {
	goal := ""
	switch {
	case r.missed():
		goal = "≥ " + figure(r.Goal) + " **missed**"
	case r.Goal > 0:
		goal = "≥ " + figure(r.Goal) + " met"
	}
	detail := r.Detail
	if r.Elsewhere != nil {
		detail += fmt.Sprintf(", %.2f cores taken by others", *r.Elsewhere)
	}
	row := fmt.Sprintf("| %s | %s %s | %s %s | %s | **%s** %s | %s | %s | %s |", r.Name,
		figure(r.Ours), r.OursSpread, figure(r.Theirs), r.TheirsSpread, r.Unit,
		figure(r.Ratio), r.RatioSpread, goal, r.Baseline, detail)
	if family, _, _ := strings.Cut(r.Name, "/"); !hasMemory(family) {
		return row + fmt.Sprintf(" %s; %s |", spentText(r.OursSpent), spentText(r.TheirsSpent))
	}
	return row + fmt.Sprintf(" %s, %s; %s, %s |", optional(r.OursAllocs), optional(r.OursBytes), optional(r.TheirsAllocs), optional(r.TheirsBytes))
}

func (s spread) String() string { return "(" + figure(s[0]) + "–" + figure(s[1]) + ")" }

func optional(f *float64) string {
	if f == nil {
		return "0"
	}
	return figure(*f)
}

// figure shows three digits, and all that are before the point.
func figure(f float64) string {
	if math.Abs(f) >= 100 {
		return thousands(strconv.FormatFloat(f, 'f', 0, 64))
	}
	return strconv.FormatFloat(f, 'g', 3, 64)
}

// thousands sets commas into the digits of an integer.
func thousands(digits string) string {
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// writeInto puts text between the markers of a file, in the place of what is
// there. A file without markers gets them at its end.
func writeInto(path, text string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	block := beginMarker + "\n" + text + "\n" + endMarker
	before, rest, begins := bytes.Cut(old, []byte(beginMarker))
	_, after, ends := bytes.Cut(rest, []byte(endMarker))
	switch {
	case begins && ends:
		block = string(before) + block + string(after)
	case begins || bytes.Contains(old, []byte(endMarker)):
		return errors.New(path + " has one of the two markers only")
	default:
		block = string(bytes.TrimRight(old, "\n")) + "\n\n## Side by side\n\n" + block + "\n"
	}
	return os.WriteFile(path, []byte(block), 0o644)
}
