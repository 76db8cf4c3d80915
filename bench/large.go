package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/storage"
)

// largeEngines are those that are meant for large objects.
var largeEngines = []string{"disk", "postgres", "s3"}

// largeMemory is how much the heap may grow during a put or a get, in MiB.
const largeMemory = 64

// largeOthers say what the plain way is on each engine: its own fastest.
var largeOthers = map[string]map[string]string{
	"disk":     {"put": "a copy and an fsync", "get": "a read"},
	"postgres": {"put": "COPY of equal chunks", "get": "SELECT of equal chunks"},
	"s3": {
		"put": "the SDK's transfer manager", "get": "the SDK's transfer manager, into nowhere",
		"get-file": "the SDK's transfer manager, into a file",
	},
}

// largeComparisons are the put and the get of one large object, through the real
// Vault, beside the same bytes without encryption. Ours is got as a stream; from
// S3 also into a file, which is what the transfer manager is for.
func largeComparisons(s settings) []comparison {
	var all []comparison
	for _, engine := range largeEngines {
		for _, operation := range []string{"put", "get", "get-file"} {
			about, ok := largeOthers[engine][operation]
			if !ok {
				continue
			}
			c := comparison{
				name: "large/" + operation + "/" + engine, unit: gigabytes, rounds: s.fewRounds(),
				others: []other{
					{name: "plain", about: about},
					{name: "heap", about: strconv.Itoa(largeMemory) + " MiB more than before", memory: largeMemory},
				},
			}
			c.open = func(ctx context.Context, e *env, _ need) (*work, error) {
				l, err := e.large(ctx, engine)
				if err != nil {
					return nil, err
				}
				return l.work(ctx, operation)
			}
			all = append(all, c)
		}
	}
	return all
}

// largeName is what ours is called.
const largeName = "large"

// plainLarge keeps one large object without us, as its engine's own client would.
type plainLarge interface {
	// clear makes room for another put; it is not timed.
	clear(ctx context.Context) error
	put(ctx context.Context, src io.Reader) error
	// get fetches the object, in whatever order is fastest.
	get(ctx context.Context, c *checker) error
	// getRange reads a part.
	getRange(ctx context.Context, offset, length int64) ([]byte, error)
}

// A fileGetter is a plainLarge that can write into a file from many places.
type fileGetter interface {
	getFile(ctx context.Context, f *os.File) error
}

// largeObjects are one object of ours and a plain one of the same content, on one
// engine. They stay for all comparisons that need them.
type largeObjects struct {
	label  string // of the engine, for people
	dir    string
	src    source
	store  *storage.Store
	cached *storage.Store // the same with a cache of data keys
	// clear makes room for another put of ours; it is not timed.
	clear  func(ctx context.Context) error
	plain  plainLarge
	filled bool
}

// large returns the objects of an engine, which may not have been put yet.
func (e *env) large(ctx context.Context, engine string) (*largeObjects, error) {
	if l := e.larges[engine]; l != nil {
		return l, nil
	}
	l := &largeObjects{label: e.label(engine), dir: e.dir, src: newLargeSource(e.settings.scaled(1<<30, 64<<20))}
	open := map[string]func(context.Context, *env) error{"disk": l.openDisk, "postgres": l.openPostgres, "s3": l.openS3}[engine]
	if err := open(ctx, e); err != nil {
		return nil, err
	}
	e.larges[engine] = l
	return l, nil
}

// useBlobs makes the stores.
func (l *largeObjects) useBlobs(ctx context.Context, e *env, blobs backend.Blobs) (err error) {
	if l.store, err = e.newStore(ctx, blobs); err == nil {
		l.cached, err = e.newCachedStore(ctx, blobs)
	}
	return err
}

// fill puts both objects, unless they are there.
func (l *largeObjects) fill(ctx context.Context) error {
	if l.filled {
		return nil
	}
	if err := l.clear(ctx); err != nil {
		return err
	}
	if _, err := l.put(ctx); err != nil {
		return err
	}
	if err := l.plain.clear(ctx); err != nil {
		return err
	}
	if err := l.plain.put(ctx, l.src.reader()); err != nil {
		return err
	}
	l.filled = true
	return l.check(ctx)
}

// check reads both objects and compares all of them.
func (l *largeObjects) check(ctx context.Context) error {
	for who, get := range map[string]func(context.Context, *checker) error{"ours": l.get, "plain": l.plain.get} {
		c := &checker{s: l.src, thorough: true}
		if err := get(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", who, err)
		}
		if err := c.end(); err != nil {
			return fmt.Errorf("%s: %w", who, err)
		}
	}
	return nil
}

func (l *largeObjects) put(ctx context.Context) (int, error) {
	info, err := l.store.Put(ctx, largeName, l.src.reader(), nil)
	if err == nil && info.Size != l.src.size {
		err = fmt.Errorf("%d bytes were put", info.Size)
	}
	return 1, err
}

func (l *largeObjects) get(ctx context.Context, c *checker) error { return l.writeTo(ctx, c) }

func (l *largeObjects) writeTo(ctx context.Context, w io.Writer) error {
	r, err := l.store.Get(ctx, largeName)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = r.WriteTo(w)
	return err
}

// work is that of one operation.
func (l *largeObjects) work(ctx context.Context, operation string) (*work, error) {
	w := &work{peak: new(peakMemory), detail: fmt.Sprintf("%s, %d MiB", l.label, l.src.size>>20)}
	var plain contender
	switch operation {
	case "put":
		w.ours = contender{prepare: l.clear, run: l.put}
		plain = contender{prepare: l.plain.clear, run: func(ctx context.Context) (int, error) {
			return 1, l.plain.put(ctx, l.src.reader())
		}}
		w.check = func(ctx context.Context) error {
			l.filled = true
			return l.check(ctx)
		}
	case "get":
		w.ours = contender{run: l.checked(l.get)}
		plain = contender{run: l.checked(l.plain.get)}
	case "get-file":
		ours := func(ctx context.Context, f *os.File) error { return l.writeTo(ctx, f) }
		w.ours = l.intoFile(ours)
		plain = l.intoFile(l.plain.(fileGetter).getFile)
	}
	if operation != "put" {
		if err := l.fill(ctx); err != nil {
			return nil, err
		}
	}
	w.ours.amount, plain.amount = float64(l.src.size), float64(l.src.size)
	w.ours.cold, plain.cold = true, true
	w.ours = w.peak.watched(w.ours)
	w.others = map[string]contender{"plain": plain}
	return w, nil
}

// checked runs a get into nowhere.
func (l *largeObjects) checked(get func(context.Context, *checker) error) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		c := &checker{s: l.src}
		if err := get(ctx, c); err != nil {
			return 0, err
		}
		return 1, c.end()
	}
}

// intoFile has a new file filled, without an fsync, and compares what it holds.
func (l *largeObjects) intoFile(get func(context.Context, *os.File) error) contender {
	path := filepath.Join(l.dir, "file-"+random())
	return contender{
		run: func(ctx context.Context) (int, error) {
			f, err := os.Create(path)
			if err != nil {
				return 0, err
			}
			err = get(ctx, f)
			return 1, errors.Join(err, f.Close())
		},
		verify: func(context.Context) error {
			c := &checker{s: l.src, thorough: true}
			if err := readFile(path, c); err != nil {
				return err
			}
			return errors.Join(c.end(), os.Remove(path))
		},
	}
}

// readFile writes what is in a file to w.
func readFile(path string, w io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(onlyWriter{w}, onlyReader{f}, make([]byte, 1<<20))
	return errors.Join(err, f.Close())
}
