package vaultclient

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// Wipe overwrites b, to its capacity, as well as Go lets us: the runtime may have copied it.
func Wipe(b []byte) {
	clear(b[:cap(b)])
}

// SecretBody is the body of a request, which holds secrets: data keys, unseal keys.
//
// net/http may go on reading a body after the request has returned (see
// http.RoundTripper), so a plain slice could not be wiped without a data race.
// Readers of a wiped body get an error. [Body] and [RawBody] make one.
type SecretBody struct {
	mu   sync.Mutex
	data []byte // nil when wiped
}

// RawBody returns a body that is data, which is JSON. It takes data over.
func RawBody(data []byte) *SecretBody { return &SecretBody{data: data} }

// Wipe overwrites the body, which cannot be sent from then on. A second Wipe does
// nothing.
func (b *SecretBody) Wipe() {
	b.mu.Lock()
	defer b.mu.Unlock()
	Wipe(b.data)
	b.data = nil
}

func (b *SecretBody) wiped() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data == nil
}

// Format writes nothing of the body, whatever the verb.
func (b *SecretBody) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// reader returns a new reader of the whole body, for one try.
func (b *SecretBody) reader() *secretReader {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &secretReader{body: b, size: len(b.data)}
}

// secretReader is an io.ReadSeeker with a Len method, which is what Vault's
// client reads in place, with a Content-Length, and rewinds for a redirect.
type secretReader struct {
	body *SecretBody
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
			Wipe(buf)
			return nil, err
		}
		if len(buf) == cap(buf) {
			grown := append(make([]byte, 0, 2*cap(buf)), buf...)
			Wipe(buf)
			buf = grown
		}
	}
}
