package bench

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/atrest/atrest/internal/devs3"
	"github.com/atrest/atrest/internal/segment"
	"github.com/atrest/atrest/storage"
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

// An engine keeps large objects: ours in a store, and without encryption as its
// own client would.
type engine struct {
	store *storage.Store
	// clear removes what ours.Put has stored, if that is not to be timed as part
	// of the next put, and clearPlain likewise.
	clear, clearPlain func() error
	put               func(src io.Reader) error // plain
	get               func() error              // plain
	getFile           func(f *os.File) error    // plain, into a file; nil: not compared
}

// engines open what BenchmarkLarge compares, each with servers of its own.
var engines = []struct {
	name string
	open func(*testing.B) engine
}{
	{"disk", diskEngine},
	{"postgres", postgresEngine},
	{"minio", func(b *testing.B) engine { return s3Engine(b, devs3.MinIO) }},
	{"versitygw", func(b *testing.B) engine { return s3Engine(b, devs3.VersityGW) }},
}

// BenchmarkLarge compares a put and a get of 1 GiB, through the real Vault, with
// the same bytes going in and out without encryption: on disk with a copy and an
// fsync, and a read; in PostgreSQL with COPY and SELECT of equal chunks; in S3
// with the SDK's transfer manager. The get from S3 is also compared into a file,
// which is what the transfer manager is for. It reports the peak of the memory that our
// put and get took beyond what was in use before.
func BenchmarkLarge(b *testing.B) {
	for _, e := range engines {
		b.Run(e.name, func(b *testing.B) { large(b, e.open(b)) })
	}
}

func large(b *testing.B, e engine) {
	source := func() io.Reader { return io.LimitReader(newGenerator(), largeSize) }
	put := func() error {
		_, err := e.store.Put(b.Context(), "large", source(), nil)
		return err
	}
	plainPut := func() error { return e.put(source()) }
	b.Run("put", func(b *testing.B) {
		var peak peakMemory
		compare(b, rate{largeSize / 1e9, "GB/s"},
			contender{name: "ours", run: func() error { return peak.during(put) }, prepare: e.clear},
			contender{name: "plain", run: plainPut, prepare: e.clearPlain},
		)
		peak.report(b)
	})
	// -bench may have left the put out, or not.
	filled := false
	fill := func(b *testing.B) {
		if filled {
			return
		}
		filled = true
		for _, f := range []func() error{e.clear, put, e.clearPlain, plainPut} {
			if f != nil {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.Run("get", func(b *testing.B) {
		fill(b)
		var peak peakMemory
		compare(b, rate{largeSize / 1e9, "GB/s"},
			contender{name: "ours", run: func() error { return peak.during(func() error { return readLarge(b, e.store) }) }},
			contender{name: "plain", run: e.get},
		)
		peak.report(b)
	})
	if e.getFile == nil {
		return
	}
	b.Run("get-file", func(b *testing.B) {
		fill(b)
		path := filepath.Join(b.TempDir(), "file")
		remove := func() error { return os.RemoveAll(path) }
		var peak peakMemory
		ours := func() error {
			return writeFile(path, func(f *os.File) error { return readLargeTo(b, e.store, f) })
		}
		compare(b, rate{largeSize / 1e9, "GB/s"},
			contender{name: "ours", run: func() error { return peak.during(ours) }, prepare: remove},
			contender{name: "plain", run: func() error { return writeFile(path, e.getFile) }, prepare: remove},
		)
		peak.report(b)
	})
}

// writeFile makes a file that is filled by fill, without an fsync.
func writeFile(path string, fill func(*os.File) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	err = fill(f)
	if info, statErr := f.Stat(); err == nil && statErr == nil && info.Size() != largeSize {
		err = fmt.Errorf("the file has %d bytes", info.Size())
	}
	return errors.Join(err, f.Close())
}

func readLarge(b *testing.B, store *storage.Store) error { return readLargeTo(b, store, io.Discard) }

func readLargeTo(b *testing.B, store *storage.Store, w io.Writer) error {
	r, err := store.Get(b.Context(), "large")
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := r.WriteTo(w)
	if err == nil && n != largeSize {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func diskEngine(b *testing.B) engine {
	keys, _, _ := newKeys(b)
	path := filepath.Join(b.TempDir(), "plain")
	return engine{
		store: newStore(b, newDisk(b), keys),
		put:   func(src io.Reader) error { return plainCopy(path, src) },
		get:   func() error { return plainRead(path) },
	}
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
		contender{name: "range", run: func() error {
			blobs.reset()
			err := readRange(b, store, "large", rand.Int64N(largeSize-length), length)
			fetched += blobs.bytes.Load()
			most = max(most, blobs.bytes.Load())
			return err
		}},
		contender{name: "small", run: func() error { _, _, err := store.GetBytes(b.Context(), "small"); return err }},
	)
	b.ReportMetric(float64(fetched)/float64(b.N), "fetched-B/read")
	b.ReportMetric(float64(most)/segment.DefaultSize, "most-segments")
}
