package bench

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
)

// reportElsewhere has the function that it returns report how many cores were
// busy, on average since now, with something else than this process. A figure of
// more than a few hundredths means that what is measured with more than one
// thread is worth little.
func reportElsewhere(b *testing.B) func() {
	start := time.Now()
	before := busyElsewhere(b)
	return func() {
		b.ReportMetric((busyElsewhere(b)-before).Seconds()/time.Since(start).Seconds(), "elsewhere")
	}
}

// busyElsewhere is the processor time that others have used since the machine was
// started, give or take a constant.
func busyElsewhere(b *testing.B) time.Duration {
	// proc(5): user, nice, system, idle, iowait, irq, softirq, steal, in ticks of
	// a hundredth of a second.
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		b.Fatal(err)
	}
	var user, nice, system, idle, iowait, irq, softirq, steal int64
	if _, err := fmt.Sscanf(string(stat), "cpu %d %d %d %d %d %d %d %d",
		&user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal); err != nil {
		b.Fatal(err)
	}
	busy := time.Duration(user+nice+system+irq+softirq+steal) * 10 * time.Millisecond

	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		b.Fatal(err)
	}
	return busy - time.Duration(own.Utime.Nano()+own.Stime.Nano())
}
