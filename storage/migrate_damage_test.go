package storage_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/storage"
)

// TestMigrateTampered: what is damaged in src is not in dst, but reported; all
// else is.
func TestMigrateTampered(t *testing.T) {
	onSomePairs(t, func(t *testing.T, dstBlobs, srcBlobs backend.Blobs) {
		src := newStore(t, storage.Config{ID: "source", Backend: srcBlobs})
		dst := newStore(t, storage.Config{ID: "destination", Backend: dstBlobs})
		contents := migrated()
		putAll(t, src, contents)
		var bad []string
		spoil := func(name, like string, change func(header, body []byte) ([]byte, []byte)) {
			header, body := rawGet(t, srcBlobs, like)
			header, body = change(header, body)
			rawPut(t, srcBlobs, name, header, body)
			bad = append(bad, name)
		}
		for what, n := range map[string]int{"large": 3 << 20, "small": 1000} {
			like := fmt.Sprintf("size/%d", n)
			spoil("bad/"+what+" begins wrong", like, func(h, b []byte) ([]byte, []byte) { b[50] ^= 1; return h, b })
			spoil("bad/"+what+" ends wrong", like, func(h, b []byte) ([]byte, []byte) { b[len(b)-1] ^= 1; return h, b })
			spoil("bad/"+what+" is cut", like, func(h, b []byte) ([]byte, []byte) { return h, b[:len(b)-1] })
			spoil("bad/"+what+" goes on", like, func(h, b []byte) ([]byte, []byte) { return h, append(b, 0) })
		}
		for _, name := range bad { // under their own names they would be genuine but for the damage
			if _, err := src.Copy(t.Context(), name, name, nil); !errors.Is(err, atrest.ErrTampered) {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"size/3145728", "size/1000", "size/65481"} {
			delete(contents, name)
		}
		spoil("size/3145728", "size/3145728", func(h, b []byte) ([]byte, []byte) { b[2<<20] ^= 1; return h, b })
		spoil("size/1000", "size/1000", func(h, b []byte) ([]byte, []byte) { b[500] ^= 1; return h, b })
		spoil("size/65481", "size/65481", func(h, b []byte) ([]byte, []byte) { h[15] ^= 1; return h, b })
		spoil("no header", "size/1", func(_, b []byte) ([]byte, []byte) { return []byte("x"), b })
		spoil("moved", "size/1", func(h, b []byte) ([]byte, []byte) { return h, b })

		var failed []string
		p, err := storage.Migrate(t.Context(), dst, src, &storage.MigrateOptions{Failed: func(name string, err error) {
			wantError(t, err, atrest.ErrTampered)
			failed = append(failed, name)
		}})
		wantError(t, err, atrest.ErrTampered)
		slices.Sort(failed)
		slices.Sort(bad)
		if !slices.Equal(failed, bad) || p.Failed != int64(len(bad)) || p.Copied != int64(len(contents)) {
			t.Errorf("%+v, failed %q, want %q", p, failed, bad)
		}
		wantAll(t, dst, contents)
	})
}

// TestMigrateDamagedSegments damages each part of a large body in turn. Whatever
// has gone to dst before the damage, no object is made of it.
func TestMigrateDamagedSegments(t *testing.T) {
	onEach(t, func(t *testing.T, dstBlobs backend.Blobs) {
		srcBlobs := memory.New()
		src := newStore(t, storage.Config{Backend: srcBlobs})
		dst := newStore(t, storage.Config{Backend: dstBlobs})
		mustPut(t, src, "n", noise(3<<20))
		header, body := rawGet(t, srcBlobs, "n")
		for at := 0; at < len(body); at += 200_001 {
			forged := bytes.Clone(body)
			forged[at] ^= 0x80
			rawPut(t, srcBlobs, "n", header, forged)
			for _, readBack := range []bool{false, true} {
				p, err := storage.Migrate(t.Context(), dst, src, &storage.MigrateOptions{ReadBack: readBack})
				wantError(t, err, atrest.ErrTampered)
				if p.Failed != 1 || p.Copied != 0 {
					t.Errorf("byte %d: %+v", at, p)
				}
			}
			wantAll(t, dst, nil)
		}
		rawPut(t, srcBlobs, "n", header, body)
		mustMigrate(t, dst, src, nil)
		wantContent(t, dst, "n", noise(3<<20))
	})
}

// TestMigrateLyingSource: sizes that are not so.
func TestMigrateLyingSource(t *testing.T) {
	for _, n := range []int{1000, 3 << 20} {
		blobs := &hostile{Blobs: memory.New()}
		src, dst := newStore(t, storage.Config{Backend: blobs}), newStore(t, storage.Config{})
		mustPut(t, src, "n", noise(n))
		for what, lie := range map[string]func(v backend.Version, obj *backend.Object){
			"another size when it is read": func(v backend.Version, obj *backend.Object) {
				if v != "" {
					obj.Size++
				}
			},
			"a negative size": func(_ backend.Version, obj *backend.Object) { obj.Size = -1 },
			"less than its size": func(_ backend.Version, obj *backend.Object) {
				obj.Body = io.NopCloser(io.LimitReader(obj.Body, int64(n-1)))
			},
			"more than its size": func(_ backend.Version, obj *backend.Object) {
				obj.Body = io.NopCloser(io.MultiReader(obj.Body, &zeros{1 << 20}))
			},
		} {
			blobs.get = lie
			p, err := storage.Migrate(t.Context(), dst, src, nil)
			if n == 1000 && what == "more than its size" {
				// What comes after the end of a small one is not read at all.
				if err != nil || p.Copied != 1 {
					t.Errorf("%d bytes, %s: %+v, %v", n, what, p, err)
				}
				blobs.get = nil
				wantAll(t, dst, map[string][]byte{"n": noise(n)})
				if err := dst.Delete(t.Context(), "n", nil); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if !errors.Is(err, atrest.ErrTampered) || p.Failed > 1 || p.Copied > 0 {
				t.Errorf("%d bytes, %s: %+v, %v", n, what, p, err)
			}
			wantAll(t, dst, nil)
		}
	}
}

// TestMigrateTellsSizes: the backend learns beforehand how much is to come.
func TestMigrateTellsSizes(t *testing.T) {
	told := make(map[int]bool)
	to := &hostile{Blobs: memory.New(), put: func(body io.Reader) io.Reader {
		told[body.(interface{ Len() int }).Len()] = true
		return body
	}}
	src, dst := newStore(t, storage.Config{}), newStore(t, storage.Config{Backend: to})
	mustPut(t, src, "small", noise(1000))
	mustPut(t, src, "large", noise(3<<20))
	mustMigrate(t, dst, src, &storage.MigrateOptions{Concurrency: 1})
	if len(told) != 2 || !told[1000+56] || !told[3<<20+40+49*16] {
		t.Errorf("told %v", told)
	}
}

// TestMigrateSourceFails: a source that breaks off is not tampering, and leaves
// nothing.
func TestMigrateSourceFails(t *testing.T) {
	for _, n := range []int{1000, 3 << 20} {
		from := &scripted{Blobs: memory.New()}
		src, dst := newStore(t, storage.Config{Backend: from}), newStore(t, storage.Config{})
		mustPut(t, src, "n", noise(n))
		for _, want := range []error{&customError{}, io.ErrUnexpectedEOF, atrest.ErrUnavailable} {
			from.body = func(_ string, read int64) error {
				if read > int64(n/2) || n == 1000 {
					return want
				}
				return nil
			}
			p, err := storage.Migrate(t.Context(), dst, src, nil)
			wantError(t, err, want)
			if fatal := want == atrest.ErrUnavailable; errors.Is(err, atrest.ErrTampered) || (p.Failed == 0) != fatal || p.Copied != 0 {
				t.Errorf("%v: %+v, %v", want, p, err)
			}
			wantAll(t, dst, nil)
		}
	}
}

// TestMigratePutFails: what dst refuses is reported, and all else is done, but
// not where dst is full or gone. What was done although it was said to have
// failed is found done.
func TestMigratePutFails(t *testing.T) {
	to := &scripted{Blobs: memory.New()}
	src, dst := newStore(t, storage.Config{}), newStore(t, storage.Config{Backend: to})
	contents := migrated()
	putAll(t, src, contents)
	to.put = func(name string) error {
		if name == "size/3145728" || name == "size/1" {
			return &customError{}
		}
		return nil
	}
	p, err := storage.Migrate(t.Context(), dst, src, nil)
	if _, ok := errors.AsType[*customError](err); !ok || p.Failed != 2 || p.Copied != int64(len(contents)-2) {
		t.Errorf("%+v, %v", p, err)
	}
	for _, fatal := range []error{atrest.ErrStorageFull, atrest.ErrStorageMissing, atrest.ErrUnavailable} {
		to.put = func(string) error { return fatal }
		p, err = storage.Migrate(t.Context(), dst, src, &storage.MigrateOptions{Concurrency: 1})
		wantError(t, err, fatal)
		if p.Failed != 0 || p.Skipped == int64(len(contents)) {
			t.Errorf("%v: %+v", fatal, p)
		}
	}

	to.put = nil
	to.answer = func(string, backend.Version, error) (backend.Version, error) { return "", &customError{} }
	p, err = storage.Migrate(t.Context(), dst, src, nil)
	if p.Failed != 2 || err == nil {
		t.Errorf("%+v, %v", p, err)
	}
	to.answer = nil
	if p := mustMigrate(t, dst, src, nil); p.Skipped != int64(len(contents)) {
		t.Errorf("%+v", p)
	}
	wantAll(t, dst, contents)
}

// TestMigrateFindsItsOwnPut: a backend that repeats a put whose answer was lost
// says that the object exists.
func TestMigrateFindsItsOwnPut(t *testing.T) {
	to := &scripted{Blobs: memory.New(), answer: func(_ string, _ backend.Version, err error) (backend.Version, error) {
		return "", cmp.Or(err, atrest.ErrExists)
	}}
	src, dst := newStore(t, storage.Config{}), newStore(t, storage.Config{Backend: to})
	contents := migrated()
	putAll(t, src, contents)
	if p := mustMigrate(t, dst, src, &storage.MigrateOptions{ReadBack: true}); p.Copied != int64(len(contents)) || p.CopiedBytes == 0 {
		t.Errorf("%+v", p)
	}
	wantAll(t, dst, contents)
}

// TestMigrateBodyNotRead: a backend that reports success without having read
// all is not believed, and what it keeps is deleted.
func TestMigrateBodyNotRead(t *testing.T) {
	blobs := &hostile{Blobs: memory.New(), put: func(body io.Reader) io.Reader { return io.LimitReader(body, 500) }}
	for _, n := range []int{1000, 1 << 20} {
		src, dst := newStore(t, storage.Config{}), newStore(t, storage.Config{Backend: blobs})
		mustPut(t, src, "n", noise(n))
		if p, err := storage.Migrate(t.Context(), dst, src, nil); err == nil || p.Failed != 1 {
			t.Errorf("%d bytes: %+v, %v", n, p, err)
		}
		wantAll(t, dst, nil)
	}
}

// TestMigrateReadBack: a backend that does not give back what it took is found
// out, and what it has is deleted.
func TestMigrateReadBack(t *testing.T) {
	blobs := &hostile{Blobs: memory.New()}
	src, dst := newStore(t, storage.Config{}), newStore(t, storage.Config{Backend: blobs})
	contents := migrated()
	putAll(t, src, contents)
	blobs.put = func(body io.Reader) io.Reader {
		all, err := io.ReadAll(body)
		if err != nil {
			return &failingReader{err}
		}
		if len(all) == 3<<20+56+48*16 || len(all) < 60 {
			all[len(all)-1] ^= 1
		}
		return bytes.NewReader(all)
	}
	p, err := storage.Migrate(t.Context(), dst, src, &storage.MigrateOptions{ReadBack: true})
	wantError(t, err, atrest.ErrTampered)
	if p.Failed == 0 || p.Copied == 0 || p.Failed+p.Copied != int64(len(contents)) {
		t.Errorf("%+v", p)
	}
	good := 0
	for info, err := range dst.Verify(t.Context(), nil) {
		if err != nil {
			t.Errorf("%q is left: %v", info.Name, err)
		}
		good++
	}
	if good != int(p.Copied) {
		t.Errorf("%d objects are good, %d were copied", good, p.Copied)
	}
}

// TestMigrateCannotLook: an object that can't be looked at is a failure, but a
// genuine copy of it, which may be all that there is, stays.
func TestMigrateCannotLook(t *testing.T) {
	from, to := &scripted{Blobs: memory.New()}, &scripted{Blobs: memory.New()}
	src, dst := newStore(t, storage.Config{Backend: from}), newStore(t, storage.Config{Backend: to})
	putAll(t, src, map[string][]byte{"a": nil, "b": nil, "c": nil})
	blind := func(name string) error {
		if name == "b" {
			return &customError{}
		}
		return nil
	}
	// The source first: it is looked at only after its object has come over, which the second run needs.
	for _, side := range []struct {
		what string
		hook *func(string) error
	}{{"source", &from.look}, {"destination", &to.look}} {
		*side.hook = blind
		p, err := storage.Migrate(t.Context(), dst, src, nil)
		*side.hook = nil
		if _, ok := errors.AsType[*customError](err); !ok || p.Failed != 1 || p.Copied+p.Skipped != 2 || !strings.Contains(err.Error(), side.what) {
			t.Errorf("%s: %+v, %v", side.what, p, err)
		}
		wantAll(t, dst, map[string][]byte{"a": nil, "b": nil, "c": nil})
	}

	// A listing that breaks off ends it, after what it has yielded.
	from.list = func(n int) error {
		if n == 3 {
			return &customError{}
		}
		return nil
	}
	p, err := storage.Migrate(t.Context(), dst, src, nil)
	if _, ok := errors.AsType[*customError](err); !ok || p.Failed != 0 || p.Last != "b" || p.Skipped != 2 {
		t.Errorf("%+v, %v", p, err)
	}
}
