package child

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// family lists a process and all its descendants, the process first, from
// proc(5). The children need not be in its process group: those of PostgreSQL
// are not.
func family(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("looking for the children of process %d: %w", pid, err)
	}
	children := map[int][]int{}
	for _, entry := range entries {
		id, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // not a process
		}
		if fields := stat(filepath.Join("/proc", entry.Name(), "stat")); len(fields) > 1 {
			parent, err := strconv.Atoi(string(fields[1]))
			if err != nil {
				return nil, fmt.Errorf("process %d has the parent %q", id, fields[1])
			}
			children[parent] = append(children[parent], id)
		}
	}
	pids := []int{pid}
	for i := 0; i < len(pids); i++ {
		pids = append(pids, children[pids[i]]...)
	}
	return pids, nil
}

// stopped reports whether each thread of a process has stopped, or ended.
func stopped(pid int) bool {
	files, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "stat"))
	if err != nil {
		return false // cannot be: the pattern is ours
	}
	for _, file := range files {
		fields := stat(file)
		// A thread that has just ended may have been replaced: look again.
		if len(fields) == 0 || !bytes.ContainsAny(fields[0], "TZX") {
			return false
		}
	}
	return true
}

// gone reports whether a process no longer runs. Nobody may ever ask how an
// orphan ended, so one that has ended but is still listed counts as gone.
func gone(pid int) bool {
	fields := stat(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return len(fields) == 0 || bytes.ContainsAny(fields[0], "ZX")
}

// stat reads the fields of a process or a thread that follow its name: state,
// parent and so on. There are none if it is gone.
func stat(file string) [][]byte {
	line, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	// The name stands in parentheses and may contain some itself.
	return bytes.Fields(line[bytes.LastIndexByte(line, ')')+1:])
}
