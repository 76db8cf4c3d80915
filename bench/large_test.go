package bench

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/atrest/atrest/internal/segment"
)

// largeSize is an object that nobody wants to have in memory, in bytes.
const largeSize = 1 << 30

// generator yields bytes that no file system compresses, for as long as it is
// read, at the speed of a copy.
type generator struct {
	block []byte
	at    int
}

func newGenerator() *generator { return &generator{block: noise(1<<20 - 1)} }

func (g *generator) Read(p []byte) (int, error) {
	if g.at == len(g.block) {
		g.at = 0
	}
	n := copy(p, g.block[g.at:])
	g.at += n
	return n, nil
}

// plainCopy is what a program without encryption does: a copy and an fsync.
func plainCopy(path string, src io.Reader) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(onlyWriter{f}, src, make([]byte, 1<<20))
	return errors.Join(err, f.Sync(), f.Close())
}

func plainRead(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(onlyWriter{io.Discard}, onlyReader{f}, make([]byte, 1<<20))
	return errors.Join(err, f.Close())
}

// onlyReader hides the WriteTo of a file.
type onlyReader struct{ io.Reader }

// BenchmarkLarge compares a put and a get of 1 GiB on disk, through the real
// Vault, with a plain copy and fsync, and a plain read, of the same bytes. It
// reports the peak of the memory that the put and the get took beyond what was
// in use before; the plain ones take a buffer of 1 MiB.
func BenchmarkLarge(b *testing.B) {
	keys, _, _ := newKeys(b)
	store := newStore(b, newDisk(b), keys)
	path := filepath.Join(b.TempDir(), "plain")
	put := func() error {
		_, err := store.Put(b.Context(), "large", io.LimitReader(newGenerator(), largeSize), nil)
		return err
	}
	get := func() error {
		r, err := store.Get(b.Context(), "large")
		if err != nil {
			return err
		}
		defer r.Close()
		n, err := r.WriteTo(io.Discard)
		if err == nil && n != largeSize {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	b.Run("put", func(b *testing.B) {
		var peak peakMemory
		compare(b, rate{largeSize / 1e9, "GB/s"},
			contender{"ours", func() error { return peak.during(put) }},
			contender{"plain", func() error { return plainCopy(path, io.LimitReader(newGenerator(), largeSize)) }},
		)
		peak.report(b)
	})
	b.Run("get", func(b *testing.B) {
		// -bench may have left the put out.
		if err := errors.Join(put(), plainCopy(path, io.LimitReader(newGenerator(), largeSize))); err != nil {
			b.Fatal(err)
		}
		var peak peakMemory
		compare(b, rate{largeSize / 1e9, "GB/s"},
			contender{"ours", func() error { return peak.during(get) }},
			contender{"plain", func() error { return plainRead(path) }},
		)
		peak.report(b)
	})
}

// BenchmarkRange compares a read of 4 KiB anywhere in 1 GiB on disk with a get of
// an object of 4 KiB, and reports what the backend was asked for.
func BenchmarkRange(b *testing.B) {
	const length = 4096
	keys, _, _ := newKeys(b)
	blobs := &meter{Blobs: newDisk(b)}
	store := newStore(b, blobs, keys)
	if _, err := store.Put(b.Context(), "large", io.LimitReader(newGenerator(), largeSize), nil); err != nil {
		b.Fatal(err)
	}
	if err := putBytes(b.Context(), store, "small", noise(length)); err != nil {
		b.Fatal(err)
	}
	var fetched, most int64
	compare(b, rate{},
		contender{"range", func() error {
			blobs.reset()
			err := readRange(b, store, "large", rand.Int64N(largeSize-length), length)
			fetched += blobs.bytes.Load()
			most = max(most, blobs.bytes.Load())
			return err
		}},
		contender{"small", func() error { _, _, err := store.GetBytes(b.Context(), "small"); return err }},
	)
	b.ReportMetric(float64(fetched)/float64(b.N), "fetched-B/read")
	b.ReportMetric(float64(most)/segment.DefaultSize, "most-segments")
}
