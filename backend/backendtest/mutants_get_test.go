package backendtest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// answer alters what each Get returns.
func answer(alter func(o *backend.Object, rng backend.Range)) func(*altered) {
	return func(a *altered) {
		a.get = func(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error) {
			o, err := a.Blobs.Get(ctx, name, rng, v)
			if err == nil {
				alter(o, rng)
			}
			return o, err
		}
	}
}

// ranged alters the range of each Get.
func ranged(alter func(rng *backend.Range)) func(*altered) {
	return func(a *altered) {
		a.get = func(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error) {
			alter(&rng)
			return a.Blobs.Get(ctx, name, rng, v)
		}
	}
}

// A body is made of parts of another.
type body struct {
	io.Reader
	io.Closer
}

type closeFunc func() error

func (f closeFunc) Close() error { return f() }

func getMutants() []mutant {
	return []mutant{
		{name: "takes the last byte for excluded", found: "Ranges/5000", wrong: ranged(func(rng *backend.Range) {
			if rng.Length > 1 {
				rng.Length--
			}
		})},
		{name: "takes the last byte for included", found: "Ranges/5000", wrong: ranged(func(rng *backend.Range) {
			if rng.Length > 0 && rng.Length < 1<<40 {
				rng.Length++
			}
		})},
		{name: "begins one late", found: "Ranges/Random", wrong: ranged(func(rng *backend.Range) {
			if rng.Offset > 0 {
				rng.Offset++
			}
		})},
		{name: "selects all by a zero length", found: "Ranges/1", wrong: ranged(func(rng *backend.Range) {
			if rng.Length == 0 {
				rng.Length = -1
			}
		})},
		{name: "overflows", found: "Ranges/5000", wrong: ranged(func(rng *backend.Range) {
			if rng.Length > 0 && rng.Offset+rng.Length < 0 {
				rng.Length = 0
			}
		})},
		{name: "reads to the end only for -1", found: "Ranges/5000", wrong: ranged(func(rng *backend.Range) {
			if rng.Length < -1 {
				rng.Length = 0
			}
		})},
		{name: "refuses a range past the end", found: "Ranges/4096", wrong: func(a *altered) {
			a.get = func(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error) {
				o, err := a.Blobs.Get(ctx, name, rng, v)
				if err == nil && rng.Offset > o.Size {
					return nil, errors.New("416")
				}
				return o, err
			}
		}},
		{name: "gives the size of the range", found: "Ranges/Random", wrong: answer(func(o *backend.Object, rng backend.Range) { _, o.Size = rng.Clamp(o.Size) })},
		{name: "does not look at the version", found: "Ranges/Version", wrong: func(a *altered) {
			a.get = func(ctx context.Context, name string, rng backend.Range, _ backend.Version) (*backend.Object, error) {
				return a.Blobs.Get(ctx, name, rng, "")
			}
		}},
		{name: "ends early and quietly", found: "Put/Sizes/65537", wrong: answer(func(o *backend.Object, _ backend.Range) {
			o.Body = body{io.LimitReader(o.Body, 64<<10), o.Body}
		})},
		{name: "reads on after Close", found: "Body/Close", wrong: answer(func(o *backend.Object, _ backend.Range) { o.Body = io.NopCloser(o.Body) })},
		{name: "closes once", found: "Body/Close", wrong: answer(func(o *backend.Object, _ backend.Range) {
			closed := false
			o.Body = body{o.Body, closeFunc(func() error {
				if closed {
					return errors.New("closed already")
				}
				closed = true
				return nil
			})}
		})},
		{name: "reads on after its context has ended", found: "Cancel/Canceled/Body", wrong: func(a *altered) {
			a.get = func(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error) {
				return a.Blobs.Get(context.WithoutCancel(ctx), name, rng, v)
			}
		}},
		{name: "ends bodies quietly when its context has ended", found: "Cancel/DeadlineExceeded/Body", wrong: answer(func(o *backend.Object, _ backend.Range) {
			r := o.Body
			o.Body = body{readFunc(func(p []byte) (int, error) {
				n, err := r.Read(p)
				if err != nil {
					err = io.EOF
				}
				return n, err
			}), r}
		})},
		{name: "reads header and body at two times", found: "Overwrite/Readers", wrong: func(a *altered) {
			a.get = func(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error) {
				head, err := a.Blobs.Get(ctx, name, backend.Range{}, v)
				if err != nil {
					return nil, err
				}
				time.Sleep(50 * time.Microsecond)
				o, err := a.Blobs.Get(ctx, name, rng, "")
				if err == nil {
					o.Header, o.Attrs = head.Header, head.Attrs
				}
				return o, err
			}
		}},
		{name: "reads the parts of a body at several times", found: "Overwrite/OpenReader of 51200", wrong: func(a *altered) {
			a.get = func(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error) {
				o, err := a.Blobs.Get(ctx, name, rng, v)
				if err == nil && rng == backend.All {
					o.Body = body{&readerOfParts{ctx, a.Blobs, name, 0}, o.Body}
				}
				return o, err
			}
		}},
		{name: "caches", found: "Overwrite/Readers", wrong: cached},
		{name: "finds a conflict where nothing is", found: "Ranges/Version", wrong: func(a *altered) {
			a.get = func(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error) {
				o, err := a.Blobs.Get(ctx, name, rng, v)
				if errors.Is(err, atrest.ErrNotFound) && v != "" {
					err = atrest.ErrConflict
				}
				return o, err
			}
		}},
	}
}

// A readerOfParts looks the object up for each read.
type readerOfParts struct {
	ctx    context.Context
	b      backend.Blobs
	name   string
	offset int64
}

func (r *readerOfParts) Read(p []byte) (int, error) {
	o, err := r.b.Get(r.ctx, r.name, backend.Range{Offset: r.offset, Length: int64(len(p))}, "")
	if err != nil {
		return 0, err
	}
	defer o.Body.Close()
	n, err := o.Body.Read(p)
	r.offset += int64(n)
	return n, err
}

// cached answers from memory for some milliseconds.
func cached(a *altered) {
	var mu sync.Mutex
	var object *backend.Object
	var content []byte
	var until time.Time
	a.get = func(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		if time.Now().After(until) {
			o, err := a.Blobs.Get(ctx, name, rng, v)
			if err != nil {
				return nil, err
			}
			object, until = o, time.Now().Add(5*time.Millisecond)
			if content, err = io.ReadAll(o.Body); err != nil {
				return nil, err
			}
		}
		return &backend.Object{Attrs: object.Attrs, Header: object.Header, Body: io.NopCloser(bytes.NewReader(content))}, nil
	}
}
