package postgres

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5"
)

// The yardsticks and the store take turns within one benchmark, because the speed
// of a shared machine changes by the minute. What is reported is the median
// round of each and their ratio.

// compare runs bare and ours in turns and reports work per second. before runs
// before each and is not timed.
func compare(b *testing.B, rounds int, unit string, perRound float64, before, bare, ours func()) {
	b.Helper()
	compareNamed(b, rounds, [2]string{"bare-" + unit + "/s", "ours-" + unit + "/s"}, perRound, before, [2]func(){bare, ours})
}

// compareNamed compares any two. The ratio is that of the second to the first.
func compareNamed(b *testing.B, rounds int, names [2]string, perRound float64, before func(), work [2]func()) {
	b.Helper()
	var took [2][]float64
	for b.Loop() {
		for range rounds {
			for i, f := range work {
				before()
				start := time.Now()
				f()
				took[i] = append(took[i], time.Since(start).Seconds())
			}
		}
	}
	m0, m1 := median(took[0]), median(took[1])
	b.ReportMetric(perRound/m0, names[0])
	b.ReportMetric(perRound/m1, names[1])
	b.ReportMetric(m0/m1, "ratio")
	b.ReportMetric(0, "ns/op")
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

const gibibyte = 1 << 30

// patterned yields size bytes from one chunk.
type patterned struct {
	chunk []byte
	left  int
}

func (p *patterned) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.chunk[:min(len(p.chunk), p.left)])
	p.left -= n
	return n, nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	x := uint64(1)
	for i := range b {
		x = x*6364136223846793005 + 1442695040888963407
		b[i] = byte(x >> 56)
	}
	return b
}

// newRaw makes a table like that of the chunks.
func newRaw(b *testing.B, s *Store) {
	execSQL(b, s, `CREATE TABLE @schema@.raw (LIKE @schema@.chunks INCLUDING ALL)`)
}

// rawPut is pgx's own COPY of equal chunks, in a transaction.
func rawPut(ctx context.Context, s *Store, chunk []byte, size int) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		seq := -1
		id := newContentID()
		_, err := tx.CopyFrom(ctx, pgx.Identifier{s.schema, "raw"}, []string{"version", "seq", "data"}, pgx.CopyFromFunc(func() ([]any, error) {
			if seq++; seq == size/chunkSize {
				return nil, nil
			}
			return []any{id, int32(seq), chunk}, nil
		}))
		return err
	})
}

func rawGet(ctx context.Context, s *Store) (n int, err error) {
	rows, err := s.pool.Query(ctx, inSchema(s.schema, `SELECT data FROM @schema@.raw ORDER BY version, seq`))
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		n += len(rows.RawValues()[0])
	}
	return n, rows.Err()
}

func drain(b *testing.B, r io.Reader, buf []byte) (n int) {
	for {
		m, err := r.Read(buf)
		n += m
		if err == io.EOF {
			return n
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPutGiB compares with pgx's own COPY.
func BenchmarkPutGiB(b *testing.B) {
	s := newStore(b, newPool(b, server.URL()))
	newRaw(b, s)
	chunk := randomBytes(chunkSize)
	before := func() {
		execSQL(b, s, `TRUNCATE @schema@.objects, @schema@.chunks, @schema@.raw`)
		execSQL(b, s, `CHECKPOINT`)
		runtime.GC()
	}
	peak := watchHeap(b)
	compare(b, 3, "MiB", gibibyte>>20, before, func() {
		if err := rawPut(b.Context(), s, chunk, gibibyte); err != nil {
			b.Fatal(err)
		}
	}, func() {
		defer peak()()
		if _, err := s.Put(b.Context(), "big", nil, &patterned{chunk, gibibyte}, backend.Condition{}); err != nil {
			b.Fatal(err)
		}
	})
}

// watchHeap returns what begins to watch the heap in use, which returns what ends that. The
// most that it has grown by is reported.
func watchHeap(b *testing.B) func() func() {
	var most atomic.Uint64
	b.Cleanup(func() { b.ReportMetric(float64(most.Load())/(1<<20), "peak-MiB") })
	return func() func() {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		start, done := m.Sys-m.HeapReleased, make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(50 * time.Millisecond):
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					if grown := m.Sys - m.HeapReleased; grown > start {
						most.Store(max(most.Load(), grown-start))
					}
				}
			}
		})
		return func() { close(done); wg.Wait() }
	}
}

// BenchmarkGetGiB compares with pgx's own SELECT of equal chunks.
func BenchmarkGetGiB(b *testing.B) {
	s := newStore(b, newPool(b, server.URL()))
	newRaw(b, s)
	chunk := randomBytes(chunkSize)
	if err := rawPut(b.Context(), s, chunk, gibibyte); err != nil {
		b.Fatal(err)
	}
	if _, err := s.Put(b.Context(), "big", nil, &patterned{chunk, gibibyte}, backend.Condition{}); err != nil {
		b.Fatal(err)
	}
	execSQL(b, s, `CHECKPOINT`)
	buf := make([]byte, 64<<10)
	peak := watchHeap(b)
	compare(b, 5, "MiB", gibibyte>>20, runtime.GC, func() {
		if n, err := rawGet(b.Context(), s); n != gibibyte || err != nil {
			b.Fatal(n, err)
		}
	}, func() {
		defer peak()()
		o, err := s.Get(b.Context(), "big", backend.All, "")
		if err != nil {
			b.Fatal(err)
		}
		defer o.Body.Close()
		if n := drain(b, o.Body, buf); n != gibibyte {
			b.Fatal(n)
		}
	})
}

// inParallel calls f for 0 … n-1 from so many callers.
func inParallel(b testing.TB, callers, n int, f func(i int) error) {
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

// BenchmarkPut compares puts of small bodies, over objects that are there after the
// first round, with an INSERT of the same bytes into the barest table.
func BenchmarkPut(b *testing.B) {
	header := make([]byte, 300)
	for _, size := range []int{1 << 10, 16 << 10, 256 << 10} {
		for _, callers := range []int{1, 8, 64, 256} {
			b.Run(fmt.Sprintf("%dKiB/%dcallers", size>>10, callers), func(b *testing.B) {
				s := newStore(b, newPool(b, server.URL()))
				execSQL(b, s, `CREATE TABLE @schema@.bare (name text PRIMARY KEY, header bytea, body bytea)`)
				execSQL(b, s, `ALTER TABLE @schema@.bare ALTER COLUMN body SET STORAGE EXTERNAL`)
				insert := inSchema(s.schema, `INSERT INTO @schema@.bare VALUES ($1, $2, $3)
					ON CONFLICT (name) DO UPDATE SET header = EXCLUDED.header, body = EXCLUDED.body`)
				body := randomBytes(size)
				n := 100 + 10*callers
				compare(b, 9, "puts", float64(n), func() {}, func() {
					inParallel(b, callers, n, func(i int) error {
						_, err := s.pool.Exec(b.Context(), insert, fmt.Sprint("bench/", i), header, body)
						return err
					})
				}, func() {
					inParallel(b, callers, n, func(i int) error {
						_, err := s.Put(b.Context(), fmt.Sprint("bench/", i), header, bytes.NewReader(body), backend.Condition{})
						return err
					})
				})
			})
		}
	}
}

// BenchmarkGet compares gets of whole small objects with a SELECT of the same bytes.
func BenchmarkGet(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 256 << 10} {
		for _, callers := range []int{1, 8, 64, 256} {
			b.Run(fmt.Sprintf("%dKiB/%dcallers", size>>10, callers), func(b *testing.B) {
				s := newStore(b, newPool(b, server.URL()))
				body := randomBytes(size)
				for i := range 100 {
					if _, err := s.Put(b.Context(), fmt.Sprint("bench/", i), make([]byte, 300), bytes.NewReader(body), backend.Condition{}); err != nil {
						b.Fatal(err)
					}
				}
				query := inSchema(s.schema, `SELECT header, body FROM @schema@.objects WHERE name = $1`)
				n := 200 + 10*callers
				compare(b, 9, "gets", float64(n), func() {}, func() {
					inParallel(b, callers, n, func(i int) error {
						var header, body []byte
						return s.pool.QueryRow(b.Context(), query, fmt.Sprint("bench/", i%100)).Scan(&header, &body)
					})
				}, func() {
					inParallel(b, callers, n, func(i int) error {
						o, err := s.Get(b.Context(), fmt.Sprint("bench/", i%100), backend.All, "")
						if err != nil {
							return err
						}
						defer o.Body.Close()
						_, err = io.Copy(io.Discard, o.Body)
						return err
					})
				})
			})
		}
	}
}

// BenchmarkGrowth compares a table of 5 million objects with one of 10 thousand: a page of
// a listing from anywhere, a look at a header, and a put over an object.
func BenchmarkGrowth(b *testing.B) {
	const small, large = 10_000, 5_000_000
	stores := [2]*Store{}
	for i, n := range []int{small, large} {
		s := newStore(b, newPool(b, server.URL()))
		execSQL(b, s, fmt.Sprintf(`INSERT INTO @schema@.objects (name, version, size, header, body)
			SELECT 'team' || i %% 1000 || '/app/state-' || i || '.json', gen_random_uuid(), 100,
				decode(repeat(md5(i::text), 10), 'hex'), decode(repeat('00', 100), 'hex')
			FROM generate_series(1, %d) i`, n))
		execSQL(b, s, `VACUUM ANALYZE @schema@.objects`)
		stores[i] = s
	}
	execSQL(b, stores[0], `CHECKPOINT`)
	body := randomBytes(100)
	for _, call := range []struct {
		name string
		n    int
		do   func(s *Store, name string) error
	}{
		{"List", 30, func(s *Store, name string) error {
			page, err := s.listPage(b.Context(), "", name)
			if err == nil && len(page) == 0 {
				return fmt.Errorf("nothing is listed after %s", name)
			}
			return err
		}},
		{"Stat", 300, func(s *Store, name string) error {
			o, err := s.Get(b.Context(), name, backend.Range{}, "")
			if err == nil {
				err = o.Body.Close()
			}
			return err
		}},
		{"Put", 100, func(s *Store, name string) error {
			_, err := s.Put(b.Context(), name, make([]byte, 300), bytes.NewReader(body), backend.Condition{})
			return err
		}},
	} {
		b.Run(call.name, func(b *testing.B) {
			calls := func(s *Store, objects int) func() {
				x := 0
				return func() {
					for range call.n {
						// Names from all over the table.
						x = (x*25173 + 13849) % 65536
						i := 1 + x*(objects/100)/65536*100
						if err := call.do(s, fmt.Sprintf("team%d/app/state-%d.json", i%1000, i)); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
			names := [2]string{"of-10k-calls/s", "of-5M-calls/s"}
			compareNamed(b, 15, names, float64(call.n), func() {}, [2]func(){calls(stores[0], small), calls(stores[1], large)})
		})
	}
}
