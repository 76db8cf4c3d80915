package backendtest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A content is a body made from two numbers, so that a body of any size can be
// written, and any part of it compared, without being held. No two parts of one
// content are alike, nor are contents of different seeds.
type content struct {
	seed uint64
	size int64
}

// header is one that tells which body it belongs to.
func (c content) header() []byte {
	return fmt.Appendf(nil, "content %d of %d bytes", c.seed, c.size)
}

// contentOf is the inverse of header.
func contentOf(header []byte) (c content, err error) {
	tag, _, _ := bytes.Cut(header, []byte(";")) // the tests of SetHeader add to it
	_, err = fmt.Sscanf(string(tag), "content %d of %d bytes", &c.seed, &c.size)
	if err != nil || !bytes.Equal(c.header(), tag) {
		return c, fmt.Errorf("header %.60q belongs to no body of this test", header)
	}
	return c, nil
}

// fill sets p to the bytes at offset and after: the key stream of AES in counter
// mode, which is fast anywhere in the stream, and under the race detector too.
func (c content) fill(p []byte, offset int64) {
	var key, counter, skipped [aes.BlockSize]byte
	binary.BigEndian.PutUint64(key[:], c.seed)
	binary.BigEndian.PutUint64(counter[8:], uint64(offset/aes.BlockSize))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // not reached: the key has a length that AES has
	}
	stream := cipher.NewCTR(block, counter[:])
	skip := skipped[:offset%aes.BlockSize]
	stream.XORKeyStream(skip, skip)
	clear(p)
	stream.XORKeyStream(p, p)
}

// bytes returns the whole body, for the small ones.
func (c content) bytes() []byte {
	p := make([]byte, c.size)
	c.fill(p, 0)
	return p
}

// reader returns the whole body as a stream that does not tell its size.
func (c content) reader() io.Reader {
	return &contentReader{content: c}
}

type contentReader struct {
	content
	offset int64
}

func (r *contentReader) Read(p []byte) (int, error) {
	if r.offset == r.size {
		return 0, io.EOF
	}
	n := min(int64(len(p)), r.size-r.offset)
	r.fill(p[:n], r.offset)
	r.offset += n
	return int(n), nil
}

// errWrongBytes is in the errors for a body that is not what it should be, as
// opposed to one that could not be read, which a reader overtaken by an
// overwrite has to expect.
var errWrongBytes = errors.New("wrong bytes")

// compare reads r to the end, in reads of up to chunk bytes, and returns an
// error unless it yields exactly the n bytes of the content from offset.
func (c content) compare(r io.Reader, offset, n int64, chunk int) error {
	got, want := make([]byte, chunk), make([]byte, chunk)
	var done int64
	for {
		m, err := r.Read(got)
		if m < 0 || m > len(got) {
			return fmt.Errorf("a Read of %d bytes returned %d", len(got), m)
		}
		if done+int64(m) > n {
			return fmt.Errorf("%w: the body goes on after %d bytes", errWrongBytes, n)
		}
		c.fill(want[:m], offset+done)
		if !bytes.Equal(got[:m], want[:m]) {
			return fmt.Errorf("%w: %d of %d bytes are right, then %s", errWrongBytes, done, n, firstDifference(got[:m], want[:m]))
		}
		done += int64(m)
		if err == io.EOF && done == n {
			return nil
		}
		if err == io.EOF {
			return fmt.Errorf("%w: the body ends after %d of %d bytes", errWrongBytes, done, n)
		}
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", done, n, err)
		}
	}
}

// firstDifference describes it in a few bytes.
func firstDifference(got, want []byte) string {
	i := 0
	for got[i] == want[i] {
		i++
	}
	end := min(i+8, len(got))
	return fmt.Sprintf("%d bytes on, the body is %x, not %x", i, got[i:end], want[i:end])
}

// failingReader yields the first bytes of a content and then err.
func failingReader(c content, after int64, err error) io.Reader {
	return io.MultiReader(content{c.seed, after}.reader(), errorReader{err})
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

// stutteringReader returns (0, nil) before each read, as io.Reader allows, and
// short reads of odd lengths.
type stutteringReader struct {
	r     io.Reader
	reads int
}

func (r *stutteringReader) Read(p []byte) (int, error) {
	r.reads++
	if r.reads%2 == 1 {
		return 0, nil
	}
	return r.r.Read(p[:min(len(p), r.reads*37)])
}

// sizedReader claims a size, true or not.
type sizedReader struct {
	io.Reader
	size int
}

func (r sizedReader) Len() int { return r.size }

// funcReader is a Read method.
type funcReader func(p []byte) (int, error)

func (f funcReader) Read(p []byte) (int, error) { return f(p) }

// untouchable fails whoever reads it.
func untouchable(fail func(format string, args ...any)) io.Reader {
	return funcReader(func([]byte) (int, error) {
		fail("the body was read although the call had to be refused before")
		return 0, errors.New("this body is not to be read")
	})
}
