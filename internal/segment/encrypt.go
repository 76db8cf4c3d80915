package segment

import (
	"errors"
	"fmt"
	"io"

	"github.com/atrest/atrest"
)

// errClosed is what a stream says after Close.
var errClosed = errors.New("segment: stream is closed")

// errImpossible is what a source says that returns more than it was asked for.
var errImpossible = errors.New("segment: source returned an impossible count")

// Seal returns the body for a plaintext that is in memory.
func (c *Cipher) Seal(plaintext []byte) ([]byte, error) {
	size, err := c.SealedSize(int64(len(plaintext)))
	if err != nil {
		return nil, err
	}
	body := make([]byte, PrefixSize, size)
	copy(body, c.prefix[:])
	var n nonce
	room := c.plain() - PrefixSize
	for index := int64(0); ; index++ {
		part := plaintext[:min(room, len(plaintext))]
		plaintext = plaintext[len(part):]
		c.setNonce(&n, index, len(plaintext) == 0)
		body = c.aead.Seal(body, n[:], part, nil)
		if len(plaintext) == 0 {
			return body, nil
		}
		room = c.plain()
	}
}

// An Encrypter reads the body for the plaintext of a source. It implements
// io.Reader and, without a copy, io.WriterTo. It is used by one goroutine.
type Encrypter struct {
	cipher *Cipher
	pipe   pipeline
	src    io.Reader
	rest   []byte // of the current batch, not yet read

	index int64   // of the next segment
	ahead [1]byte // a byte read to learn whether the source goes on
	isAhd bool
}

// Encrypt returns an Encrypter over src, whose length need not be known. The
// memory in use is bounded whatever the length is. Close it to give its buffers
// back before its end.
//
// An error of src is returned as it is.
func (c *Cipher) Encrypt(src io.Reader) *Encrypter {
	e := &Encrypter{cipher: c, src: src}
	e.pipe = pipeline{size: c.size, pool: c.pool, fill: e.fill, work: e.seal}
	return e
}

// fill reads plaintext into the places of a batch where it can be sealed.
func (e *Encrypter) fill(b *batch) error {
	size := e.cipher.size
	b.first, b.n, b.last = e.index, 0, false
	for at := 0; at < b.room; at += size {
		if e.index == maxSegments {
			return fmt.Errorf("%w: more than 2^32 segments", atrest.ErrTooLarge)
		}
		start := at
		if e.index == 0 {
			start = copy(b.buf, e.cipher.prefix[:])
		}
		n, err := e.read(b.buf[start : at+size-TagSize])
		b.n = start + n
		b.dirty = max(b.dirty, b.n)
		if err != nil && err != io.EOF {
			return err
		}
		e.index++
		b.n += TagSize
		if err == io.EOF {
			b.last = true
			return io.EOF
		}
	}
	return nil
}

// read fills p and finds out whether the source ends with it: then it returns
// io.EOF, and only then less than all of p.
func (e *Encrypter) read(p []byte) (n int, err error) {
	if e.isAhd {
		n = copy(p, e.ahead[:])
		e.ahead[0], e.isAhd = 0, false
	}
	m, err := ReadFull(e.src, p[n:])
	n += m
	if err != nil {
		return n, err
	}
	m, err = ReadFull(e.src, e.ahead[:])
	e.isAhd = m == 1
	return n, err
}

// ReadFull is io.ReadFull, but tells a source's own io.ErrUnexpectedEOF, which
// is a failure, from its io.EOF after some bytes, which is an end and comes as
// io.EOF; and it gives up on a source that yields nothing again and again, with
// io.ErrNoProgress.
func ReadFull(src io.Reader, p []byte) (n int, err error) {
	for idle := 0; n < len(p); {
		m, err := src.Read(p[n:])
		if m < 0 || m > len(p)-n {
			return n, errImpossible
		}
		n += m
		if err != nil {
			if n == len(p) && err == io.EOF {
				return n, nil // the next call will say so again
			}
			return n, err
		}
		if m > 0 {
			idle = 0
		} else if idle++; idle == 100 {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}

// writeFull makes sure that a writer that takes less than it is given says why.
func writeFull(w io.Writer, p []byte) (int, error) {
	n, err := w.Write(p)
	if n < 0 || n > len(p) {
		return 0, errors.New("segment: writer returned an impossible count")
	}
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

// seal encrypts the segments of a batch where they lie.
func (e *Encrypter) seal(b *batch) {
	c := e.cipher
	for at, index := 0, b.first; at < b.n; at, index = at+c.size, index+1 {
		start, end := at, min(at+c.size, b.n)
		if index == 0 {
			start = PrefixSize
		}
		c.setNonce(&b.nonce, index, b.last && end == b.n)
		c.aead.Seal(b.buf[start:start], b.nonce[:], b.buf[start:end-TagSize], nil)
	}
	b.dirty = 0 // ciphertext now
}

// Read implements io.Reader.
func (e *Encrypter) Read(p []byte) (int, error) {
	for len(e.rest) == 0 {
		if len(p) == 0 {
			return 0, nil
		}
		b, err := e.pipe.next()
		if err != nil {
			return 0, err
		}
		e.rest = b.buf[:b.n]
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: each Write gets some 256 KiB.
func (e *Encrypter) WriteTo(w io.Writer) (written int64, err error) {
	for {
		if len(e.rest) > 0 {
			n, err := writeFull(w, e.rest)
			written += int64(n)
			e.rest = e.rest[n:]
			if err != nil {
				return written, err
			}
			continue
		}
		b, err := e.pipe.next()
		if err == io.EOF {
			return written, nil
		} else if err != nil {
			return written, err
		}
		e.rest = b.buf[:b.n]
	}
}

// Finished reports whether the body has been read up to its end.
func (e *Encrypter) Finished() bool { return e.pipe.failed == io.EOF }

// Close wipes the buffers and gives them back. It does not close the source.
func (e *Encrypter) Close() error {
	e.rest = nil
	e.ahead[0] = 0
	if e.pipe.failed == nil {
		e.pipe.fail(errClosed)
	}
	return nil
}
