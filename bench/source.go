package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
)

// noise returns n bytes that repeat nowhere, the same each time.
func noise(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{7}).Read(p)
	return p
}

// A source is size bytes of plaintext: a block, over and over.
type source struct {
	block []byte
	size  int64
}

// newLargeSource returns bytes that no file system compresses. The block's length
// divides nothing, so that it looks different wherever it is cut.
func newLargeSource(size int64) source { return source{noise(1<<20 - 1), size} }

// at returns the bytes from offset, at most n and at least one, up to the end of
// the block or of the source.
func (s source) at(offset int64, n int) []byte {
	within := offset % int64(len(s.block))
	n = int(min(int64(n), s.size-offset, int64(len(s.block))-within))
	return s.block[within : within+int64(n)]
}

// chunks calls f with all of it, n bytes at a time where the block has them.
func (s source) chunks(n int, f func([]byte) error) error {
	for at := int64(0); at < s.size; {
		chunk := s.at(at, n)
		if err := f(chunk); err != nil {
			return err
		}
		at += int64(len(chunk))
	}
	return nil
}

// equal reports whether p is what is at offset.
func (s source) equal(p []byte, offset int64) bool {
	for len(p) > 0 {
		if offset >= s.size {
			return false
		}
		want := s.at(offset, len(p))
		if !bytes.Equal(p[:len(want)], want) {
			return false
		}
		p, offset = p[len(want):], offset+int64(len(want))
	}
	return true
}

// reader reads it. It is nothing but an io.Reader, as a connection is.
func (s source) reader() io.Reader { return &sourceReader{s: s} }

type sourceReader struct {
	s  source
	at int64
}

func (r *sourceReader) Read(p []byte) (int, error) {
	if r.at == r.s.size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	n := copy(p, r.s.at(r.at, len(p)))
	r.at += int64(n)
	return n, nil
}

// A checker drops what is written to it, and looks whether it is the source. Of
// each write it compares the beginning only, unless it is thorough: that costs
// nothing, and finds what is missing, twice there or in the wrong place. It takes
// either Writes or WriteAts; the latter may be concurrent.
type checker struct {
	s        source
	thorough bool
	n        atomic.Int64
}

func (c *checker) Write(p []byte) (int, error) { return c.WriteAt(p, c.n.Load()) }

func (c *checker) WriteAt(p []byte, offset int64) (int, error) {
	look := p
	if !c.thorough {
		look = p[:min(len(p), 64)]
	}
	if !c.s.equal(look, offset) {
		return 0, fmt.Errorf("what came back at %d is not what was put there", offset)
	}
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// end says whether as much as the source has been written.
func (c *checker) end() error {
	if n := c.n.Load(); n != c.s.size {
		return fmt.Errorf("%d bytes came back, of %d", n, c.s.size)
	}
	return nil
}

// A counter drops what is written to it.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// onlyWriter hides the ReadFrom of a writer, which may have a buffer of its own.
type onlyWriter struct{ io.Writer }

// onlyReader hides the WriteTo of a reader.
type onlyReader struct{ io.Reader }

var errTooFewBytes = errors.New("it has fewer bytes than went in")
