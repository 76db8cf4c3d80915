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

func newMemoryReader(plaintext []byte) *memoryReader {
	return &memoryReader{plaintext: plaintext, rest: plaintext}
}

// take gives the plaintext to the caller, so that Close does not wipe it.
func (m *memoryReader) take() []byte {
	p := m.plaintext
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

// errorWriter remembers whose error it was.
type errorWriter struct {
	w   io.Writer
	err error
}

func (e *errorWriter) Write(p []byte) (n int, err error) {
	n, e.err = e.w.Write(p)
	return n, e.err
}
