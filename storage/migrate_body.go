package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/segment"
)

// openSealed returns the body of an object as it is stored. It does not end
// before all of it has been authenticated.
func (s *Store) openSealed(ctx context.Context, entry *backend.Entry, h *header, keys *objectKeys) (sealed, error) {
	cipher, err := s.openingCipher(keys, &h.immutable)
	if err != nil {
		return nil, err
	}
	span, err := segment.NewSpan(0, -1, entry.Size, h.immutable.segmentSize)
	if err != nil {
		return nil, err
	}
	body, err := s.openVersion(ctx, entry)
	if err != nil {
		return nil, err
	}
	if entry.Size <= smallBody {
		defer body.Close()
		return sealedWhole(cipher, body, entry.Size)
	}
	r := newRelay(body, cipher, span)
	if entry.Size > math.MaxInt {
		return struct{ sealed }{r}, nil // without Len
	}
	return r, nil
}

// openVersion opens the body of the very object that was seen.
func (s *Store) openVersion(ctx context.Context, entry *backend.Entry) (io.ReadCloser, error) {
	obj, err := s.blobs.Get(ctx, entry.Name, backend.All, entry.Version)
	if err != nil {
		return nil, err
	}
	if obj.Size != entry.Size {
		obj.Body.Close()
		return nil, fmt.Errorf("%w (one version has two sizes)", atrest.ErrTampered)
	}
	return obj.Body, nil
}

// sealedWhole reads a small body and authenticates it before a byte is handed
// on.
func sealedWhole(cipher *segment.Cipher, src io.Reader, size int64) (sealed, error) {
	body := make([]byte, size)
	if _, err := segment.ReadFull(src, body); err == io.EOF {
		return nil, fmt.Errorf("%w (body ends early)", atrest.ErrTampered)
	} else if err != nil {
		return nil, err
	}
	plaintext, err := cipher.Open(body)
	if err != nil {
		return nil, err
	}
	clear(plaintext)
	return sealedBytes{bytes.NewReader(body)}, nil
}

// readThrough reads a body to its end, through decryption.
func (s *Store) readThrough(ctx context.Context, entry *backend.Entry, h *header, keys *objectKeys) error {
	cipher, err := s.openingCipher(keys, &h.immutable)
	if err != nil {
		return err
	}
	span, err := segment.NewSpan(0, -1, entry.Size, h.immutable.segmentSize)
	if err != nil {
		return err
	}
	body, err := s.openVersion(ctx, entry)
	if err != nil {
		return err
	}
	defer body.Close()
	d := cipher.Decrypt(body, span)
	defer d.Close()
	_, err = d.WriteTo(io.Discard)
	return err
}

// A relay is the body of a large object on its way from one backend to another.
// What it hands on has gone into a decrypter before, and it reports the end, or
// the failure, that the decrypter comes to. A consumer that keeps nothing of a
// body that failed, as backends do, so never keeps one that is not genuine.
type relay struct {
	src     io.ReadCloser
	left    int64 // bytes, if the source is as long as it says
	pipe    *io.PipeWriter
	done    chan struct{} // closed when the decrypter has ended
	verdict error         // of the decrypter, once it is done
	err     error         // sticky: what the consumer was told, or will be
}

func newRelay(src io.ReadCloser, cipher *segment.Cipher, span segment.Span) *relay {
	in, out := io.Pipe()
	r := &relay{src: src, left: span.Length, pipe: out, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		d := cipher.Decrypt(in, span)
		defer d.Close()
		_, r.verdict = d.WriteTo(io.Discard)
		// A source that goes on, after a failure or after its end, goes nowhere.
		if r.verdict != nil {
			in.CloseWithError(r.verdict)
		} else {
			in.CloseWithError(fmt.Errorf("%w (body is longer than it says)", atrest.ErrTampered))
		}
	}()
	return r
}

// Read implements io.Reader.
func (r *relay) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.src.Read(p)
	if n > 0 {
		if _, err := r.pipe.Write(p[:n]); err != nil {
			return 0, r.fail(err)
		}
		r.left -= int64(n)
	}
	switch {
	case err == io.EOF:
		r.pipe.Close()
		<-r.done
		if r.err = io.EOF; r.verdict != nil {
			r.fail(r.verdict)
		}
	case err != nil:
		r.fail(err)
	}
	if n > 0 {
		return n, nil
	}
	return 0, r.err
}

func (r *relay) fail(err error) error {
	r.err = fmt.Errorf("source: %w", err)
	return r.err
}

// Len tells the backend how much is to come.
func (r *relay) Len() int { return int(max(r.left, 0)) }

func (r *relay) finished() bool { return r.err == io.EOF }

// close ends the decrypter and the fetching.
func (r *relay) close() {
	r.pipe.CloseWithError(errClosed)
	<-r.done
	// What was read has been authenticated, or has failed already.
	_ = r.src.Close()
	if r.err == nil {
		r.err = errors.New("body is closed")
	}
}
