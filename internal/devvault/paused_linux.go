package devvault

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// awaitPaused waits until each thread of the process has stopped.
func (p *process) awaitPaused() error {
	deadline := time.Now().Add(stopTimeout)
	for {
		paused, err := allThreadsStopped(p.cmd.Process.Pid)
		if paused || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("server process %d did not pause within %v", p.cmd.Process.Pid, stopTimeout)
		}
		time.Sleep(time.Millisecond)
	}
}

// allThreadsStopped reads the state of each thread from proc(5).
func allThreadsStopped(pid int) (bool, error) {
	files, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "stat"))
	if err != nil {
		return false, err
	}
	if len(files) == 0 {
		return false, fmt.Errorf("server process %d is gone", pid)
	}
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			return false, nil // the thread has just ended: look again
		}
		// The state follows the program's name, which stands in
		// parentheses and may contain some itself.
		_, state, _ := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(" "))
		if !bytes.HasPrefix(state, []byte("T")) {
			return false, nil
		}
	}
	return true, nil
}
