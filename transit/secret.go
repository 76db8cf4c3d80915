package transit

import (
	"encoding/base64"
	"errors"
	"io"
	"sync"
)

// wipe overwrites b as well as Go lets us: the runtime may have copied it.
func wipe(b []byte) {
	clear(b[:cap(b)])
}

// secretBody is the body of a request, which holds base64 of data keys.
//
// net/http may go on reading a body after the request has returned (see
// http.RoundTripper), so a plain slice could not be wiped without a data race.
// Readers of a wiped body get an error.
type secretBody struct {
	mu   sync.Mutex
	data []byte // nil when wiped
}

func (b *secretBody) wipe() {
	b.mu.Lock()
	defer b.mu.Unlock()
	wipe(b.data)
	b.data = nil
}

// reader returns a new reader of the whole body, for one try.
func (b *secretBody) reader() *secretReader {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &secretReader{body: b, size: len(b.data)}
}

// secretReader is an io.ReadSeeker with a Len method, which is what Vault's
// client reads in place, with a Content-Length, and rewinds for a redirect.
type secretReader struct {
	body *secretBody
	off  int // guarded by body.mu
	size int
}

// Len returns the size of the whole body, wherever the reader is.
func (r *secretReader) Len() int { return r.size }

func (r *secretReader) Read(p []byte) (int, error) {
	r.body.mu.Lock()
	defer r.body.mu.Unlock()
	if r.body.data == nil {
		return 0, io.ErrClosedPipe
	}
	if r.off == len(r.body.data) {
		return 0, io.EOF
	}
	n := copy(p, r.body.data[r.off:])
	r.off += n
	return n, nil
}

// Seek can only rewind.
func (r *secretReader) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekStart {
		return 0, errors.ErrUnsupported
	}
	r.body.mu.Lock()
	defer r.body.mu.Unlock()
	r.off = 0
	return 0, nil
}

// readBounded reads r to its end, or to one byte past limit if there is more.
// It wipes each buffer that it outgrows; the caller wipes the result.
func readBounded(r io.Reader, limit int64) ([]byte, error) {
	r = io.LimitReader(r, limit+1)
	buf := make([]byte, 0, 4096)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			wipe(buf)
			return nil, err
		}
		if len(buf) == cap(buf) {
			grown := append(make([]byte, 0, 2*cap(buf)), buf...)
			wipe(buf)
			buf = grown
		}
	}
}

// plaintext is a decrypted data key. It decodes itself from the JSON text, so
// that the base64 never becomes a string, which could not be wiped.
type plaintext []byte

// UnmarshalJSON decodes a JSON string of canonical base64 without escapes,
// which is what Vault sends.
func (p *plaintext) UnmarshalJSON(text []byte) error {
	wipe(*p) // a second value under the same name
	*p = nil
	if len(text) < 2 || text[0] != '"' {
		return errors.New("plaintext is not a string")
	}
	text = text[1 : len(text)-1]
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(raw, text)
	if err != nil {
		wipe(raw)
		return errors.New("plaintext is not base64") // err would be safe, but says no more
	}
	*p = raw[:n]
	return nil
}
