package disk

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/atrest/atrest/backend"
)

// The yardsticks and the store take turns within one benchmark, in short
// rounds, because the speed of a shared disk changes by the minute. What is
// reported is the median round of each and their ratio.
const rounds = 15

// compare runs bare and ours in turns and reports work per second.
// before, if not nil, runs before each and is not timed.
func compare(b *testing.B, unit string, perRound float64, before, bare, ours func()) {
	b.Helper()
	var took [2][]float64
	for b.Loop() {
		for range rounds {
			for i, f := range []func(){bare, ours} {
				if before != nil {
					before()
				}
				start := time.Now()
				f()
				took[i] = append(took[i], time.Since(start).Seconds())
			}
		}
	}
	median := func(x []float64) float64 { slices.Sort(x); return x[len(x)/2] }
	m0, m1 := median(took[0]), median(took[1])
	b.ReportMetric(perRound/m0, "bare-"+unit+"/s")
	b.ReportMetric(perRound/m1, "ours-"+unit+"/s")
	b.ReportMetric(m0/m1, "ratio")
	b.ReportMetric(0, "ns/op")
}

// barePut is what no durable put can do without.
func barePut(dir, name string, body []byte) error {
	temp := filepath.Join(dir, name+".tmp")
	f, err := os.Create(temp)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(body); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, name)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// inParallel calls f for 0 … n-1 from so many callers.
func inParallel(b *testing.B, callers, n int, f func(i int) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkPut compares puts of small bodies, over objects that are there after
// the first round, with bare files of the same size.
func BenchmarkPut(b *testing.B) {
	header := make([]byte, 200)
	for _, size := range []int{1 << 10, 4 << 10, 16 << 10, 64 << 10} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%dKiB/%dcallers", size>>10, callers), func(b *testing.B) {
				dir := b.TempDir()
				s := openStore(b, Config{Dir: dir + "/store"})
				body := newBigBody(size)
				n := 40 + 5*callers
				compare(b, "puts", float64(n), nil, func() {
					inParallel(b, callers, n, func(i int) error { return barePut(dir, fmt.Sprint(i), body) })
				}, func() {
					inParallel(b, callers, n, func(i int) error {
						_, err := s.Put(context.Background(), fmt.Sprint("bench/", i), header, bytes.NewReader(body), backend.Condition{})
						return err
					})
				})
			})
		}
	}
}

func newBigBody(size int) []byte { return state{size: size, seed: 9}.body() }

const gibibyte = 1 << 30

// patterned yields size bytes from one chunk, as the encrypting reader does,
// which hands out its buffers by WriteTo.
type patterned struct {
	chunk []byte
	left  int
}

func (p *patterned) Read(b []byte) (int, error) {
	n := copy(b, p.chunk[:min(len(p.chunk), p.left)])
	p.left -= n
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (p *patterned) WriteTo(w io.Writer) (total int64, err error) {
	for p.left > 0 && err == nil {
		var n int
		n, err = w.Write(p.chunk[:min(len(p.chunk), p.left)])
		p.left -= n
		total += int64(n)
	}
	return total, err
}

// BenchmarkPutGiB compares with copying to a file and fsync.
func BenchmarkPutGiB(b *testing.B) {
	dir := b.TempDir()
	s := openStore(b, Config{Dir: dir + "/store"})
	chunk := newBigBody(1 << 20)
	// Freeing the blocks of the last round is work that the next fsync would
	// wait for.
	before := func() {
		os.Remove(dir + "/bare")
		s.Delete(context.Background(), "big", backend.Condition{})
		syscall.Sync()
	}
	compare(b, "MiB", gibibyte>>20, before, func() {
		f, err := os.Create(dir + "/bare")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := (&patterned{chunk, gibibyte}).WriteTo(f); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}, func() {
		if _, err := s.Put(context.Background(), "big", nil, &patterned{chunk, gibibyte}, backend.Condition{}); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkGetGiB compares with reading a file with a buffer of 1 MiB.
func BenchmarkGetGiB(b *testing.B) {
	s, v := gibibyteStore(b)
	file := filepath.Join(s.root.Name(), bodiesDir, string(v[:2]), string(v))
	buf := make([]byte, 1<<20)
	drain := func(r io.Reader) {
		for {
			if _, err := r.Read(buf); err == io.EOF {
				return
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
	compare(b, "MiB", gibibyte>>20, nil, func() {
		f, err := os.Open(file)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		drain(f)
	}, func() {
		o, err := s.Get(context.Background(), "big", backend.All, "")
		if err != nil {
			b.Fatal(err)
		}
		defer o.Body.Close()
		drain(o.Body)
	})
}

// BenchmarkRange reads 4 KiB out of a body of 1 GiB.
func BenchmarkRange(b *testing.B) {
	s, _ := gibibyteStore(b)
	buf := make([]byte, 4096)
	i := int64(0)
	for b.Loop() {
		i = (i*6364136223846793005 + 1442695040888963407) & (1<<62 - 1)
		o, err := s.Get(context.Background(), "big", backend.Range{Offset: i % (gibibyte - 4096), Length: 4096}, "")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(o.Body, buf); err != nil {
			b.Fatal(err)
		}
		o.Body.Close()
	}
}

func gibibyteStore(b *testing.B) (*Store, backend.Version) {
	s := openStore(b, Config{Dir: b.TempDir() + "/store"})
	v, err := s.Put(context.Background(), "big", nil, &patterned{newBigBody(1 << 20), gibibyte}, backend.Condition{})
	if err != nil {
		b.Fatal(err)
	}
	return s, v
}

// BenchmarkList lists 10,000 objects, in 100 directories.
func BenchmarkList(b *testing.B) {
	s := openStore(b, Config{Dir: b.TempDir() + "/store"})
	const n = 10000
	for i := range n {
		plant(b, s, fmt.Sprintf("d%02d/%d", i%100, i))
	}
	runtime.GC()
	for b.Loop() {
		seen := 0
		for _, err := range s.List(context.Background(), "", "") {
			if err != nil {
				b.Fatal(err)
			}
			seen++
		}
		if seen != n {
			b.Fatal(seen)
		}
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
