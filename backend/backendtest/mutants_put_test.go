package backendtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

func mutants() []mutant {
	return slices.Concat(putMutants(), nameMutants(), getMutants(), chunkMutants(), conditionMutants(), headerMutants(), headersMutants(), batchMutants(), copyMutants(), listMutants(), configMutants())
}

// bodyOf alters the body of each Put.
func bodyOf(alter func(io.Reader) io.Reader) func(*altered) {
	return func(a *altered) {
		a.put = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
			return a.Blobs.Put(ctx, name, header, alter(body), cond)
		}
	}
}

// readFunc is a Read method.
type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// swallow takes the errors that match for the end of the body.
func swallow(match func(error) bool) func(*altered) {
	return bodyOf(func(r io.Reader) io.Reader {
		return readFunc(func(p []byte) (int, error) {
			n, err := r.Read(p)
			if err != nil && match(err) {
				err = io.EOF
			}
			return n, err
		})
	})
}

func putMutants() []mutant {
	type lener interface{ Len() int }
	return []mutant{
		{name: "swallows the error of a body", found: "Failures/Body breaks after 102400 bytes", wrong: swallow(func(error) bool { return true })},
		{name: "takes an unexpected EOF for EOF", found: "Failures/Unexpected EOF after 102400 bytes",
			wrong: swallow(func(err error) bool { return err == io.ErrUnexpectedEOF })},
		{name: "takes a wrapped EOF for EOF", found: "Failures/Wrapped EOF after 1 bytes",
			wrong: swallow(func(err error) bool { return errors.Is(err, io.EOF) })},
		{name: "hides the error of a body", found: "Failures/Body breaks after 0 bytes", wrong: bodyOf(func(r io.Reader) io.Reader {
			return readFunc(func(p []byte) (int, error) {
				n, err := r.Read(p)
				if err != nil && err != io.EOF {
					err = fmt.Errorf("%v", err)
				}
				return n, err
			})
		})},
		{name: "reads only as much as Len says", found: "Put/LyingLen/5000 says 2500", wrong: bodyOf(func(r io.Reader) io.Reader {
			if l, ok := r.(lener); ok {
				return io.LimitReader(r, int64(l.Len()))
			}
			return r
		})},
		{name: "does not read on after Len bytes", found: "Failures/Body breaks after 102400 bytes that are all", wrong: bodyOf(func(r io.Reader) io.Reader {
			if l, ok := r.(lener); ok {
				return io.LimitReader(r, int64(l.Len()))
			}
			return r
		})},
		{name: "takes no bytes for the end", found: "Put/Sources/no bytes and no error", wrong: bodyOf(func(r io.Reader) io.Reader {
			return readFunc(func(p []byte) (int, error) {
				n, err := r.Read(p)
				if n == 0 && err == nil {
					err = io.EOF
				}
				return n, err
			})
		})},
		{name: "loses bytes that come with EOF", found: "Put/Sources/EOF with the last bytes", wrong: bodyOf(func(r io.Reader) io.Reader {
			return readFunc(func(p []byte) (int, error) {
				n, err := r.Read(p)
				if err == io.EOF {
					n = 0
				}
				return n, err
			})
		})},
		{name: "takes a read for the whole", found: "Put/Sources/one byte at a time", wrong: bodyOf(func(r io.Reader) io.Reader {
			p := make([]byte, 1<<20)
			n, err := r.Read(p)
			if err != nil && err != io.EOF {
				return r
			}
			return bytes.NewReader(p[:n])
		})},
		{name: "holds the body", found: "Heap", wrong: bodyOf(func(r io.Reader) io.Reader {
			p, err := io.ReadAll(r)
			if err != nil {
				return r
			}
			return bytes.NewReader(p)
		})},
		{name: "closes the body", found: "Put/DoesNotClose", wrong: bodyOf(func(r io.Reader) io.Reader {
			if c, ok := r.(io.Closer); ok {
				_ = c.Close()
			}
			return r
		})},
		{name: "leaves temporary files", found: "Failures/Body breaks after 1 bytes", cfg: leaveResidue},
		{name: "keeps its lock when the body panics", found: "Failures/Panic", wrong: func(a *altered) {
			var mu sync.Mutex
			a.put = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
				mu.Lock()
				v, err := a.Blobs.Put(ctx, name, header, body, cond)
				mu.Unlock()
				return v, err
			}
		}},
		{name: "leaves a goroutine", found: "Goroutines", run: "(Overwrite|Goroutines)", wrong: bodyOf(func(r io.Reader) io.Reader {
			go func() { select {} }()
			return r
		})},
		{name: "goes on after its context has ended", found: "Cancel/Canceled/Put after 102400 bytes before 0", wrong: func(a *altered) {
			a.put = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
				return a.Blobs.Put(context.WithoutCancel(ctx), name, header, body, cond)
			}
		}},
		{name: "keeps a reference to the header", found: "Put/Headers/are copied", wrong: func(a *altered) {
			var mu sync.Mutex
			headers := make(map[string][]byte)
			a.put = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
				mu.Lock()
				defer mu.Unlock()
				headers[name] = header
				return a.Blobs.Put(ctx, name, header, body, cond)
			}
			a.get = func(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error) {
				mu.Lock()
				defer mu.Unlock()
				o, err := a.Blobs.Get(ctx, name, rng, v)
				if err == nil {
					o.Header = headers[name]
				}
				return o, err
			}
		}},
		{name: "cuts long headers", found: "Put/Headers/too long", wrong: func(a *altered) {
			a.put = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
				return a.Blobs.Put(ctx, name, header[:min(len(header), backend.MaxHeader)], body, cond)
			}
		}},
		{name: "returns before the change can be seen", found: "Overwrite/Sizes", wrong: func(a *altered) {
			a.put = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
				p, err := io.ReadAll(body)
				go func() {
					time.Sleep(time.Millisecond)
					_, _ = a.Blobs.Put(context.WithoutCancel(ctx), name, header, bytes.NewReader(p), cond)
				}()
				return "1", err
			}
		}},
		{name: "deletes before it puts", found: "Overwrite/Readers", wrong: func(a *altered) {
			a.put = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
				_ = a.Blobs.Delete(ctx, name, backend.Condition{})
				time.Sleep(moment)
				return a.Blobs.Put(ctx, name, header, body, cond)
			}
		}},
		{name: "makes versions of contents", found: "Overwrite/NewVersions", wrong: versionsOfContents},
		{name: "makes versions of contents, by the model", found: "Model", wrong: versionsOfContents},
		{name: "accepts two conditions", found: "Conditions/Both", wrong: func(a *altered) {
			a.put = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
				if cond.IfVersion != "" {
					cond.IfAbsent = false
				}
				return a.Blobs.Put(ctx, name, header, body, cond)
			}
		}},
	}
}

// versionsOfContents has the same version for the same header, as if it were a
// hash of the content.
func versionsOfContents(a *altered) {
	a.put = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
		_, err := a.Blobs.Put(ctx, name, header, body, cond)
		return backend.Version(fmt.Sprintf("%x", header)), err
	}
}

// renamed stores each object under another name.
func renamed(f func(name string) string) func(*altered) {
	return func(a *altered) {
		a.put = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
			return a.Blobs.Put(ctx, f(name), header, body, cond)
		}
		a.get = func(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error) {
			return a.Blobs.Get(ctx, f(name), rng, v)
		}
		a.delete = func(ctx context.Context, name string, cond backend.Condition) error {
			return a.Blobs.Delete(ctx, f(name), cond)
		}
	}
}

func nameMutants() []mutant {
	return []mutant{
		{name: "folds case", found: "Names/Odd", wrong: renamed(strings.ToLower)},
		{name: "cleans paths", found: "Names/Odd", wrong: renamed(path.Clean)},
		{name: "takes backslashes for slashes", found: "Names/Odd", wrong: renamed(func(name string) string { return strings.ReplaceAll(name, `\`, "/") })},
		{name: "trims spaces", found: "Names/Odd", wrong: renamed(func(name string) string { return strings.TrimRight(name, " ") + "x" })},
		{name: "cuts long names", found: "Names/Odd", wrong: renamed(func(name string) string { return name[:min(len(name), 255)] })},
		{name: "lists other names", found: "Names/Alone double slash", wrong: renamed(func(name string) string { return "x" + name })},
		{name: "accepts the empty name", found: "Names/Invalid", wrong: renamed(func(name string) string {
			if name == "" {
				return "x"
			}
			return name
		})},
		{name: "repairs UTF-8", found: "Names/Invalid", wrong: renamed(func(name string) string { return strings.ToValidUTF8(name, "?") })},
		{name: "reads the body before it looks at the name", found: "Names/Invalid", wrong: bodyOf(func(r io.Reader) io.Reader {
			p, err := io.ReadAll(io.LimitReader(r, 1))
			if err != nil {
				return r
			}
			return io.MultiReader(bytes.NewReader(p), r)
		})},
		{name: "refuses dir/file beside dir", found: "Names/Odd", wrong: func(a *altered) {
			a.put = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
				if o, err := a.Blobs.Get(ctx, path.Dir(name), backend.Range{}, ""); err == nil && path.Dir(name) != name {
					o.Body.Close()
					return "", atrest.ErrConflict
				}
				return a.Blobs.Put(ctx, name, header, body, cond)
			}
		}},
	}
}
