package bench

import (
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

// peakMemory is by how much memory grew at most while some work was done.
type peakMemory struct {
	heap     uint64 // objects, dead ones not yet collected included, and stacks
	resident uint64 // of the process, as the kernel counts it
}

// during does the work and looks at the memory every 10 ms meanwhile, which
// costs next to nothing and misses little: buffers live longer.
func (p *peakMemory) during(work func() error) error {
	runtime.GC()
	heap, resident, err := memoryInUse()
	if err != nil {
		return err
	}
	done := make(chan error)
	go func() { done <- work() }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
		}
		h, r, err := memoryInUse()
		if err != nil {
			return err
		}
		p.heap = max(p.heap, h-min(h, heap))
		p.resident = max(p.resident, r-min(r, resident))
	}
}

func (p *peakMemory) report(b *testing.B) {
	b.ReportMetric(float64(p.heap)/(1<<20), "heap-MiB")
	b.ReportMetric(float64(p.resident)/(1<<20), "resident-MiB")
}

func memoryInUse() (heap, resident uint64, err error) {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
	}
	metrics.Read(samples)
	for _, s := range samples {
		heap += s.Value.Uint64()
	}
	// proc(5): total and resident, in pages.
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, 0, err
	}
	var total, pages uint64
	if _, err := fmt.Sscan(string(statm), &total, &pages); err != nil {
		return 0, 0, err
	}
	return heap, pages * uint64(os.Getpagesize()), nil
}
