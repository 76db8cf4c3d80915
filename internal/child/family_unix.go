//go:build unix && !linux

package child

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// family lists a process and all its descendants, the process first.
func family(pid int) ([]int, error) {
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		return nil, fmt.Errorf("looking for the children of process %d: ps: %w", pid, err)
	}
	children := map[int][]int{}
	for line := range strings.Lines(string(out)) {
		var id, parent int
		if _, err := fmt.Sscan(line, &id, &parent); err != nil {
			return nil, fmt.Errorf("ps printed %q: %w", line, err)
		}
		children[parent] = append(children[parent], id)
	}
	pids := []int{pid}
	for i := 0; i < len(pids); i++ {
		pids = append(pids, children[pids[i]]...)
	}
	return pids, nil
}

// stopped reports whether a process has stopped, or ended.
func stopped(pid int) bool {
	s := state(pid)
	return s == "" || strings.ContainsAny(s[:1], "TZ")
}

// gone reports whether a process no longer runs.
func gone(pid int) bool {
	s := state(pid)
	return s == "" || s[0] == 'Z'
}

// state is what ps shows of a process, nothing if it is gone.
func state(pid int) string {
	out, err := exec.Command("ps", "-o", "state=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return "" // how ps says that there is no such process
	}
	return strings.TrimSpace(string(out))
}
