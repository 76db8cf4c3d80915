package segment

import (
	"crypto/subtle"
	"fmt"
	"io"

	"github.com/atrest/atrest"
)

// A Span is a run of whole segments of one body, chosen so that a range of its
// plaintext can be read, and, where the range touches the end, so that the end
// can be believed.
type Span struct {
	// Offset and Length are the bytes of the body to fetch.
	Offset, Length int64

	first int64 // index of the first segment
	final int64 // index of the last segment of the body
	skip  int64 // bytes of opened plaintext to drop at the start
	take  int64 // bytes of plaintext to hand out after those
}

// NewSpan returns the Span for length bytes (negative: all) of plaintext from
// offset on, in a body of bodySize bytes. The range is cut at the end of the
// plaintext.
//
// Where the range reaches past the end, or begins there, what the caller learns
// is where the end is. The Span then includes the last segment, since the size
// of a body is a claim until that one has been opened.
func NewSpan(offset, length, bodySize int64, segmentSize int) (Span, error) {
	size, err := PlainSize(bodySize, segmentSize)
	if err != nil {
		return Span{}, err
	}
	if offset < 0 {
		return Span{}, fmt.Errorf("segment: negative offset %d", offset)
	}
	final := segmentsOf(bodySize, segmentSize) - 1
	begin := min(offset, size)
	end := size
	atEnd := true
	if length >= 0 && length <= size-begin && offset <= size {
		end, atEnd = begin+length, false
	}
	if begin == end && !atEnd {
		return Span{}, nil // nothing is asked, so nothing need be fetched
	}
	last := final
	if !atEnd {
		last = segmentAt(end-1, segmentSize)
	}
	// The end of the plaintext may be where one more segment would begin.
	first := min(segmentAt(begin, segmentSize), last)

	s := Span{first: first, final: final, take: end - begin}
	s.Offset = first * int64(segmentSize)
	s.Length = min((last+1)*int64(segmentSize), bodySize) - s.Offset
	s.skip = begin - max(first*int64(segmentSize-TagSize)-PrefixSize, 0)
	return s, nil
}

// Guess returns the part of a body to fetch for a range of its plaintext before
// the size of the body is known: the Offset and Length of the Span that NewSpan
// will most often return. A negative Length is all from Offset on.
func Guess(offset, length int64, segmentSize int) Span {
	size := int64(segmentSize)
	s := Span{Offset: min(segmentAt(min(offset, maxPlain), segmentSize), maxSegments) * size, Length: -1}
	if length >= 0 && length <= maxPlain-min(offset, maxPlain) {
		last := min(offset, maxPlain) + max(length, 1) - 1
		s.Length = (segmentAt(last, segmentSize)+1)*size - s.Offset
	}
	return s
}

// maxPlain is more than any body can hold: 2^32 segments of MaxSize.
const maxPlain = maxSegments * MaxSize

// Cut returns what the span asks for of the plaintext of a whole body, which is
// that of the size that NewSpan was told.
func (s Span) Cut(plaintext []byte) []byte { return plaintext[s.skip:][:s.take] }

// Open returns the plaintext of a whole body that is in memory.
func (c *Cipher) Open(body []byte) ([]byte, error) {
	size, err := PlainSize(int64(len(body)), c.size)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(body[:PrefixSize], c.prefix[:]) != 1 {
		return nil, atrest.ErrTampered
	}
	plaintext := make([]byte, 0, size)
	var n nonce
	for index, at := int64(0), 0; at < len(body); index, at = index+1, at+c.size {
		start, end := at, min(at+c.size, len(body))
		if index == 0 {
			start = PrefixSize
		}
		c.setNonce(&n, index, end == len(body))
		opened, err := c.aead.Open(plaintext, n[:], body[start:end], nil)
		if err != nil {
			clear(plaintext)
			return nil, atrest.ErrTampered
		}
		plaintext = opened
	}
	return plaintext, nil
}

// A Decrypter reads the plaintext of a body, or of a Span of it. It implements
// io.Reader and, without a copy, io.WriterTo. It is used by one goroutine.
type Decrypter struct {
	cipher *Cipher
	pipe   pipeline
	src    io.Reader
	lender lender // src, if it is one
	span   Span

	index   int64 // of the next segment to fetch
	left    int64 // bytes of the span not yet fetched
	batch   *batch
	at      int // where in the batch the next segment lies
	current []byte
}

// A lender is a source that can lend the memory its bytes are in, as
// backend.ChunkReader says.
type lender interface {
	NextChunk(n int) (chunk []byte, release func(), err error)
}

// Decrypt returns a Decrypter over src, which yields the bytes of the body that
// span names. Memory is bounded whatever the length is. Close it to wipe its
// buffers before its end.
//
// It returns ErrTampered, and hands out no byte of the segment in question nor
// of those after it, if any bit differs from what was sealed there. An error of
// src is returned as it is; a src that ends early is ErrTampered. If src is a
// backend.ChunkReader, what it lends is opened from where it is; it may get some of
// it back after its Close, but none after that of the Decrypter.
func (c *Cipher) Decrypt(src io.Reader, span Span) *Decrypter {
	d := &Decrypter{cipher: c, src: src, span: span, index: span.first, left: span.Length}
	d.lender, _ = src.(lender)
	d.pipe = pipeline{size: c.size, pool: c.pool, fill: d.fill, work: d.open}
	return d
}

// fill fetches the segments of a batch.
func (d *Decrypter) fill(b *batch) error {
	n, err := d.fetch(b, int(min(int64(b.room), d.left)))
	if err == io.EOF {
		return fmt.Errorf("%w (body ends %d bytes early)", atrest.ErrTampered, d.left-int64(n))
	} else if err != nil {
		return err
	}
	b.first, b.n = d.index, n
	d.left -= int64(n)
	d.index += segmentsOf(int64(n), d.cipher.size)
	b.last = d.index == d.span.final+1
	if d.left == 0 {
		return io.EOF
	}
	return nil
}

// fetch has b.sealed be the next bytes, as many as are wanted or, if they are lent,
// fewer but whole segments. What is lent in other pieces is copied, up to where
// a batch of segments is complete.
func (d *Decrypter) fetch(b *batch, want int) (n int, err error) {
	if d.lender != nil && want > 0 {
		chunk, release, err := d.lender.NextChunk(want)
		switch {
		case err != nil:
			return 0, err
		case len(chunk) > want:
			release()
			return 0, errImpossible
		case len(chunk) == want, len(chunk) > 0 && len(chunk)%d.cipher.size == 0:
			b.sealed, b.release = chunk, release
			return len(chunk), nil
		}
		n = copy(b.buf, chunk)
		release()
	}
	b.sealed = b.buf
	m, err := ReadFull(d.src, b.buf[n:want])
	return n + m, err
}

// open decrypts the segments of a batch, each to its place in b.buf. That is where it
// lies, unless the ciphertext was lent, which is given back then.
func (d *Decrypter) open(b *batch) {
	defer b.giveBack()
	c := d.cipher
	b.err = nil
	b.dirty = max(b.dirty, b.n)
	if b.first == 0 && b.n > 0 && subtle.ConstantTimeCompare(b.sealed[:PrefixSize], c.prefix[:]) != 1 {
		b.err = atrest.ErrTampered
		return
	}
	for at, index := 0, b.first; at < b.n; at, index = at+c.size, index+1 {
		start, end := at, min(at+c.size, b.n)
		if index == 0 {
			start = PrefixSize
		}
		c.setNonce(&b.nonce, index, b.last && end == b.n)
		if _, err := c.aead.Open(b.buf[start:start], b.nonce[:], b.sealed[start:end], nil); err != nil {
			b.err = atrest.ErrTampered
			return
		}
	}
}

// next makes the following stretch of plaintext current.
func (d *Decrypter) next() error {
	for {
		for d.batch == nil || d.at >= d.batch.n {
			b, err := d.pipe.next()
			if err != nil {
				d.batch = nil // it is the pool's now
				return err
			}
			d.batch, d.at = b, 0
		}
		start, end := d.at, min(d.at+d.cipher.size, d.batch.n)-TagSize
		if d.batch.first == 0 && start == 0 {
			start = PrefixSize
		}
		d.at += d.cipher.size
		if part := d.cut(d.batch.buf[start:end]); len(part) > 0 {
			d.current = part
			return nil
		}
	}
}

// cut drops what the span opened but was not asked for.
func (d *Decrypter) cut(part []byte) []byte {
	skip := min(d.span.skip, int64(len(part)))
	d.span.skip -= skip
	part = part[skip:]
	part = part[:min(d.span.take, int64(len(part)))]
	d.span.take -= int64(len(part))
	return part
}

// Read implements io.Reader. It returns io.EOF only after all segments of the
// span have been opened.
func (d *Decrypter) Read(p []byte) (int, error) {
	for len(d.current) == 0 {
		if len(p) == 0 {
			return 0, nil
		}
		if err := d.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, d.current)
	d.current = d.current[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: each Write gets one segment's plaintext.
func (d *Decrypter) WriteTo(w io.Writer) (written int64, err error) {
	for {
		if len(d.current) > 0 {
			n, err := writeFull(w, d.current)
			written += int64(n)
			d.current = d.current[n:]
			if err != nil {
				return written, err
			}
			continue
		}
		if err := d.next(); err == io.EOF {
			return written, nil
		} else if err != nil {
			return written, err
		}
	}
}

// Close wipes the buffers and gives them back. It does not close the source.
func (d *Decrypter) Close() error {
	d.current, d.batch = nil, nil
	if d.pipe.failed == nil {
		d.pipe.fail(errClosed)
	}
	return nil
}
