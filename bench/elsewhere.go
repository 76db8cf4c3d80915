package main

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// watchElsewhere returns a function that tells how many cores were busy, on
// average since now, with something else than this process. A figure of more
// than a few hundredths means that what is measured with more than one thread is
// worth little.
func watchElsewhere() (func() (float64, error), error) {
	start := time.Now()
	before, err := busyElsewhere()
	if err != nil {
		return nil, err
	}
	return func() (float64, error) {
		now, err := busyElsewhere()
		return max((now-before).Seconds()/time.Since(start).Seconds(), 0), err
	}, nil
}

// busyElsewhere is the processor time that others have used since the machine was
// started, give or take a constant.
func busyElsewhere() (time.Duration, error) {
	// proc(5): user, nice, system, idle, iowait, irq, softirq, steal, in ticks of
	// a hundredth of a second.
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	var user, nice, system, idle, iowait, irq, softirq, steal int64
	if _, err := fmt.Sscanf(string(stat), "cpu %d %d %d %d %d %d %d %d",
		&user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal); err != nil {
		return 0, fmt.Errorf("/proc/stat: %w", err)
	}
	busy := time.Duration(user+nice+system+irq+softirq+steal) * 10 * time.Millisecond

	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return 0, err
	}
	return busy - time.Duration(own.Utime.Nano()+own.Stime.Nano()), nil
}
