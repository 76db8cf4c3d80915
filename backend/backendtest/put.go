package backendtest

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// sizes are around the lengths at which engines change their ways: a page, a
// chunk row, a segment, a part of an upload.
var sizes = []int64{0, 1, 255, 4095, 4096, 4097, 64*kib - 1, 64 * kib, 64*kib + 1, mib + 17, 20 * mib}

// sources are ways to hand over the same body.
var sources = []struct {
	name string
	body func(c content) io.Reader
}{
	{"bytes.Reader", func(c content) io.Reader { return bytes.NewReader(c.bytes()) }},
	{"bytes.Buffer", func(c content) io.Reader { return bytes.NewBuffer(c.bytes()) }},
	{"no Len", content.reader},
	{"one byte at a time", func(c content) io.Reader { return iotest.OneByteReader(c.reader()) }},
	{"EOF with the last bytes", func(c content) io.Reader { return iotest.DataErrReader(c.reader()) }},
	{"no bytes and no error", func(c content) io.Reader { return &stutteringReader{r: c.reader()} }},
	{"true Len, EOF with the last bytes", func(c content) io.Reader {
		return sizedReader{iotest.DataErrReader(c.reader()), int(c.size)}
	}},
}

func (s suite) testPut(t *testing.T) {
	t.Run("Sizes", func(t *testing.T) {
		for _, size := range sizes {
			t.Run(fmt.Sprint(size), func(t *testing.T) {
				t.Parallel()
				st, c := s.open(t), content{1, size}
				st.want("team/app/state.json", st.put("team/app/state.json", c), c)
			})
		}
	})
	t.Run("Sources", func(t *testing.T) {
		for _, source := range sources {
			t.Run(source.name, func(t *testing.T) {
				t.Parallel()
				s.putFrom(t, source.body)
			})
		}
	})
	t.Run("Headers", func(t *testing.T) {
		for _, size := range []int{0, 1, 17, backend.MaxHeader - 1, backend.MaxHeader} {
			t.Run(fmt.Sprint(size), func(t *testing.T) {
				t.Parallel()
				// Bytes of every value, so that none has a meaning to the engine.
				header, c := content{2, int64(size)}.bytes(), content{3, 99}
				st := s.open(t)
				st.wantHeader("name", st.putHeader("name", header, c), header, c)
			})
		}
		t.Run("nil", func(t *testing.T) {
			t.Parallel()
			st, c := s.open(t), content{3, 99}
			st.wantHeader("name", st.putHeader("name", nil, c), nil, c)
		})
		t.Run("too long", s.testHeaderTooLong)
		t.Run("are copied", s.testHeaderCopied)
	})
	t.Run("LyingLen", s.testLyingLen)
	t.Run("OtherHandle", s.testOtherHandle)
	t.Run("DoesNotClose", func(t *testing.T) {
		t.Parallel()
		st, c := s.open(t), content{1, 70 * kib}
		body := closeRecorder{Reader: c.reader()}
		if _, err := st.Put(st.ctx, "name", nil, &body, backend.Condition{}); err != nil {
			t.Fatal(err)
		}
		if body.closed {
			t.Error("Put closed the body, which is its caller's")
		}
	})
}

func (s suite) putFrom(t *testing.T, body func(content) io.Reader) {
	st := s.open(t)
	for i, size := range []int64{0, 1, 4097, 64 * kib, 300 * kib} {
		c := content{uint64(i), size}
		v, err := st.Put(st.ctx, "name", c.header(), body(c), backend.Condition{})
		if err != nil {
			t.Fatalf("Put of %d bytes: %v", size, err)
		}
		st.want("name", v, c)
	}
}

func (s suite) testHeaderTooLong(t *testing.T) {
	t.Parallel()
	st, c := s.open(t), content{3, 99}
	v := st.put("name", c)
	header := make([]byte, backend.MaxHeader+1)
	_, err := st.Put(st.ctx, "name", header, c.reader(), backend.Condition{})
	wantError(t, "Put of a long header", err, atrest.ErrTooLarge)
	_, err = st.Copy(st.ctx, "copy", "name", v, header, backend.Condition{})
	wantError(t, "Copy with a long header", err, atrest.ErrTooLarge)
	st.want("name", v, c)
	st.wantMissing("copy")
}

// testHeaderCopied checks that no header is shared with a caller, who may use
// the memory again.
func (s suite) testHeaderCopied(t *testing.T) {
	t.Parallel()
	st, c := s.open(t), content{3, 99}
	header := c.header()
	v := st.putHeader("name", header, c)
	clear(header)
	st.want("name", v, c)

	o, err := st.Get(st.ctx, "name", backend.Range{}, "")
	if err != nil {
		t.Fatal(err)
	}
	o.Body.Close()
	clear(o.Header)
	st.want("name", v, c)

	list, err := entries(st.ctx, st, "", "")
	if err != nil {
		t.Fatal(err)
	}
	clear(list[0].Header)
	st.want("name", v, c)
}

// testLyingLen checks that a size told beforehand is not believed: a body that
// turns out shorter or longer is stored as it was read, or refused.
func (s suite) testLyingLen(t *testing.T) {
	for _, size := range []int64{0, 10, 5000, 100 * kib, 6 * mib} {
		for _, claim := range []int64{0, size - 1, size + 1, size / 2, size*2 + 1} {
			if claim == size || claim < 0 {
				continue
			}
			t.Run(fmt.Sprintf("%d says %d", size, claim), func(t *testing.T) {
				t.Parallel()
				st, old, c := s.open(t), content{1, 77}, content{2, size}
				v := st.put("name", old)
				got, err := st.Put(st.ctx, "name", c.header(), sizedReader{c.reader(), int(claim)}, backend.Condition{})
				if err != nil {
					st.want("name", v, old)
					return
				}
				st.want("name", got, c)
			})
		}
	}
}

// testOtherHandle checks that what was done is there for another process, and
// that versions are not per handle.
func (s suite) testOtherHandle(t *testing.T) {
	t.Parallel()
	st := s.open(t)
	handles := s.handles(st, 2)
	other := store{handles[1], t, st.ctx}
	c, d := content{1, 5000}, content{2, 70 * kib}
	v := st.put("name", c)
	other.want("name", v, c)
	w := other.put("name", d)
	if v == w {
		t.Errorf("two contents of one name, put through two handles, share the version %q", v)
	}
	st.want("name", w, d)
	if err := other.Delete(st.ctx, "name", backend.Condition{}); err != nil {
		t.Fatal(err)
	}
	st.wantMissing("name")
}

type closeRecorder struct {
	io.Reader
	closed bool
}

func (r *closeRecorder) Close() error {
	r.closed = true
	return nil
}
