package main

import (
	"context"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"
)

// peakMemory is by how much the heap grew at most while some work was done, over
// all runs of it.
type peakMemory struct {
	heap uint64 // objects, dead ones not yet collected included, and stacks

	before uint64
	done   chan struct{}
	wg     sync.WaitGroup
}

// watched returns c with its memory looked at every 10 ms, which costs next to
// nothing and misses little: buffers live longer.
func (p *peakMemory) watched(c contender) contender {
	prepare := c.prepare
	c.prepare = func(ctx context.Context) error {
		if err := call(ctx, prepare); err != nil {
			return err
		}
		p.begin()
		return nil
	}
	run := c.run
	c.run = func(ctx context.Context) (int, error) {
		defer p.end() // whatever becomes of it
		return run(ctx)
	}
	return c
}

func (p *peakMemory) begin() {
	runtime.GC()
	p.before = memoryInUse()
	p.done = make(chan struct{})
	p.wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-p.done:
				return
			case <-tick.C:
				p.look()
			}
		}
	})
}

func (p *peakMemory) look() {
	now := memoryInUse()
	p.heap = max(p.heap, now-min(now, p.before))
}

func (p *peakMemory) end() {
	close(p.done)
	p.wg.Wait()
	p.look()
}

// leastMemory is what the sampling can tell from nothing, in bytes.
const leastMemory = 64 << 10

// value is the peak in MiB, and never zero.
func (p *peakMemory) value() float64 { return float64(max(p.heap, leastMemory)) / mebibytes.scale }

func memoryInUse() (bytes uint64) {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
	}
	metrics.Read(samples)
	for _, s := range samples {
		bytes += s.Value.Uint64()
	}
	return bytes
}
