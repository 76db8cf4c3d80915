package storage

import (
	"errors"
	"io"
)

var errClosed = errors.New("reader is closed")

// A memoryReader reads plaintext that has been opened whole.
type memoryReader struct {
	plaintext, rest []byte
	closed          bool
}

// newMemoryReader returns a reader of part, which is a part of plaintext. It
// wipes all of it in the end.
func newMemoryReader(plaintext, part []byte) *memoryReader {
	return &memoryReader{plaintext: plaintext, rest: part}
}

// take gives what has not been read to the caller, so that Close does not wipe
// it.
func (m *memoryReader) take() []byte {
	p := m.rest
	m.plaintext, m.rest = nil, nil
	return p
}

func (m *memoryReader) Read(p []byte) (int, error) {
	switch {
	case m.closed:
		return 0, errClosed
	case len(p) == 0:
		return 0, nil
	case len(m.rest) == 0:
		return 0, io.EOF
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

func (m *memoryReader) WriteTo(w io.Writer) (int64, error) {
	if m.closed {
		return 0, errClosed
	}
	if len(m.rest) == 0 {
		return 0, nil
	}
	n, err := w.Write(m.rest)
	m.rest = m.rest[n:]
	if err == nil && len(m.rest) > 0 {
		err = io.ErrShortWrite
	}
	return int64(n), err
}

func (m *memoryReader) Close() error {
	clear(m.plaintext)
	m.plaintext, m.rest, m.closed = nil, nil, true
	return nil
}

// A wipingBuffer collects plaintext and wipes what it outgrows.
type wipingBuffer []byte

func (b *wipingBuffer) Write(p []byte) (int, error) {
	if need := len(*b) + len(p); need > cap(*b) {
		grown := make([]byte, len(*b), max(need, 2*cap(*b)))
		copy(grown, *b)
		clear(*b)
		*b = grown
	}
	*b = append(*b, p...)
	return len(p), nil
}

// errorWriter remembers whose error it was.
type errorWriter struct {
	w   io.Writer
	err error
}

func (e *errorWriter) Write(p []byte) (n int, err error) {
	n, e.err = e.w.Write(p)
	return n, e.err
}
