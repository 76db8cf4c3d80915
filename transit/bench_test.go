package transit_test

import (
	"fmt"
	"sync"
	"testing"
)

func BenchmarkWrap(b *testing.B) {
	for _, callers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			w, wire, _ := openNew(b)
			dataKey := newDataKey()
			turns := make(chan struct{})
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for range turns {
						if _, err := w.Wrap(b.Context(), dataKey, []byte("here")); err != nil {
							b.Error(err)
						}
					}
				})
			}
			for b.Loop() {
				turns <- struct{}{}
			}
			close(turns)
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "wraps/s")
			b.ReportMetric(float64(b.N)/float64(wire.count()), "wraps/request")
		})
	}
}
