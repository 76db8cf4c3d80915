package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// spent is processor time by the name of the program that has used it: this one's
// is "client". The servers are those that were started by this process.
type spent map[string]time.Duration

const clientName = "client"

// spentUntilNow is what has been used so far. What a process has used that is gone
// is missing, and without a /proc all but the client is.
func spentUntilNow() spent {
	var own syscall.Rusage
	s := spent{}
	if syscall.Getrusage(syscall.RUSAGE_SELF, &own) == nil {
		s[clientName] = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	}
	for _, p := range descendants(os.Getpid()) {
		s[p.program] += p.used
	}
	return s
}

// each returns, in µs, what one of n operations has used since before, without what
// did next to nothing.
func (s spent) each(before spent, n float64) map[string]float64 {
	per := make(map[string]float64)
	for program, used := range s {
		if since := used - before[program]; since >= 2*tick {
			per[program] = since.Seconds() * 1e6 / n
		}
	}
	return per
}

// tick is what the kernel counts processor time in: a hundredth of a second on
// every architecture that Go knows (proc(5), sysconf(_SC_CLK_TCK)).
const tick = 10 * time.Millisecond

// A usage is one process.
type usage struct {
	pid, parent int
	program     string
	used        time.Duration
}

// descendants are the processes that pid has started, and theirs, and so on.
func descendants(pid int) []usage {
	children := make(map[int][]usage)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // It has just ended.
		}
		if p, err := parseStat(string(text)); err == nil {
			children[p.parent] = append(children[p.parent], p)
		}
	}
	all := slices.Clone(children[pid])
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i].pid]...)
	}
	return all
}

// parseStat reads a /proc/PID/stat: the pid, the program in parentheses, and from
// the third on fields of no interest but the fourth, the parent, and the 14th and
// 15th, the time in user and in kernel mode.
func parseStat(text string) (p usage, err error) {
	open, shut := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || shut < open {
		return p, fmt.Errorf("no program in %q", text)
	}
	fields := strings.Fields(text[shut+1:])
	if len(fields) < 13 {
		return p, fmt.Errorf("too few fields in %q", text)
	}
	p.program = text[open+1 : shut]
	var ticks [2]int
	for to, field := range map[*int]string{
		&p.pid: strings.TrimSpace(text[:open]), &p.parent: fields[1], &ticks[0]: fields[11], &ticks[1]: fields[12],
	} {
		if *to, err = strconv.Atoi(field); err != nil {
			return p, err
		}
	}
	p.used = time.Duration(ticks[0]+ticks[1]) * tick
	return p, nil
}

// spentText shows µs by program, the client first.
func spentText(per map[string]float64) string {
	programs := slices.SortedFunc(maps.Keys(per), func(a, b string) int {
		switch {
		case a == clientName:
			return -1
		case b == clientName:
			return 1
		}
		return strings.Compare(a, b)
	})
	var parts []string
	for _, program := range programs {
		parts = append(parts, program+" "+figure(per[program]))
	}
	return strings.Join(parts, ", ")
}

// typicalSpent is the median of each program's.
func typicalSpent(samples []sample) map[string]float64 {
	typical := make(map[string]float64)
	for _, s := range samples {
		for program := range s.spent {
			typical[program] = median(each(samples, func(s sample) float64 { return s.spent[program] }))
		}
	}
	return typical
}
