package storage

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/segment"
)

// A Reader reads the plaintext of an object, or a range of it. It implements
// io.Reader, io.WriterTo (which saves a copy) and io.Closer, and is used by one
// goroutine at a time.
//
// Each segment is authenticated before a byte of it is handed out. A Reader
// that has failed stays failed. io.EOF means that everything that was asked
// for, and the end of the object if it was reached, has been authenticated.
type Reader struct {
	info  Info
	plain plainReader
	body  io.Closer // the backend's
}

type plainReader interface {
	io.Reader
	io.WriterTo
	io.Closer
}

// Get opens an object for reading. The caller closes the Reader. The context
// governs the reading until then.
//
// Name, metadata and time in its Info have been authenticated. The size is the
// backend's word until Read has returned io.EOF; if it was wrong, Read fails
// instead.
//
// Errors, of Get or of a later Read: ErrNotFound, ErrTampered, ErrInvalidName,
// and those of the key wrapper and the backend.
func (s *Store) Get(ctx context.Context, name string) (*Reader, error) {
	return s.GetRange(ctx, name, 0, -1)
}

// GetRange opens length bytes of an object from offset on, or all from there on
// if length is negative. A range that reaches past the end is cut at the end,
// and one that begins there is empty; where the end is, is authenticated then.
// A small range of a large object costs one or two segments' fetching.
//
// The size in the Reader's Info is that of the whole object, and stays the
// backend's word unless the range reaches past the end. A negative offset is an
// error; the others are those of [Store.Get].
func (s *Store) GetRange(ctx context.Context, name string, offset, length int64) (*Reader, error) {
	if offset < 0 {
		return nil, opError("get", name, fmt.Errorf("negative offset %d", offset))
	}
	r, err := s.getRange(ctx, name, offset, length)
	if err != nil {
		return nil, opError("get", name, err)
	}
	return r, nil
}

// GetBytes returns a whole object, authenticated to the end. It is for secrets
// that fit into memory: it allocates what the object turns out to hold. Errors
// are those of [Store.Get].
func (s *Store) GetBytes(ctx context.Context, name string) ([]byte, Info, error) {
	r, err := s.Get(ctx, name)
	if err != nil {
		return nil, Info{}, err
	}
	defer r.Close()
	if whole, ok := r.plain.(*memoryReader); ok {
		return whole.take(), r.info, nil
	}
	// The size is not believed: the buffer grows with what has been opened.
	var b wipingBuffer
	if _, err := r.WriteTo(&b); err != nil {
		clear(b)
		return nil, Info{}, err
	}
	return b, r.info, nil
}

// attempts is how often a read of two steps starts again because the object was
// replaced in between. Each time, someone else's put has succeeded.
const attempts = 20

func (s *Store) getRange(ctx context.Context, name string, offset, length int64) (*Reader, error) {
	for range attempts {
		r, err := s.tryRange(ctx, name, offset, length)
		if !errors.Is(err, atrest.ErrConflict) {
			return r, err
		}
	}
	return nil, fmt.Errorf("%w again and again while it was being read", atrest.ErrConflict)
}

// tryRange fetches the range as if the object had the segment size of new
// ones, which saves the round trip of asking. If it turns out not to be what is
// needed, it fetches again.
func (s *Store) tryRange(ctx context.Context, name string, offset, length int64) (*Reader, error) {
	guess := segment.Guess(offset, length, s.segmentSize)
	guessed := backend.Range{Offset: guess.Offset, Length: guess.Length}
	obj, err := s.blobs.Get(ctx, name, guessed, "")
	if err != nil {
		return nil, err
	}
	ob, err := s.authenticate(ctx, name, obj)
	if err != nil {
		obj.Body.Close()
		return nil, err
	}
	size := obj.Size
	span, err := segment.NewSpan(offset, length, size, ob.segmentSize)
	if err != nil {
		obj.Body.Close()
		return nil, err
	}
	if begin, n := guessed.Clamp(size); span.Length > 0 && (begin != span.Offset || n != span.Length) {
		obj.Body.Close()
		obj, err = s.blobs.Get(ctx, name, backend.Range{Offset: span.Offset, Length: span.Length}, ob.info.Version)
		if err != nil {
			return nil, err
		}
		if obj.Size != size {
			obj.Body.Close()
			return nil, fmt.Errorf("%w (one version has two sizes)", atrest.ErrTampered)
		}
	}
	return newReader(ob, obj.Body, span, size)
}

// An object is an object whose header has been authenticated.
type object struct {
	info        Info
	segmentSize int
	cipher      *segment.Cipher
}

// authenticate checks the header of what the backend returned for name, with
// the key that Vault unwraps for that name and no other.
func (s *Store) authenticate(ctx context.Context, name string, obj *backend.Object) (*object, error) {
	h, err := parseHeader(obj.Header)
	if err != nil {
		return nil, err
	}
	keys, err := s.unwrap(ctx, name, h)
	if err != nil {
		return nil, err
	}
	defer keys.wipe()
	size, err := segment.PlainSize(obj.Size, h.immutable.segmentSize)
	if err != nil {
		return nil, err
	}
	metadata, err := h.immutable.openMetadata(keys.data[:])
	if err != nil {
		return nil, err
	}
	cipher, err := s.openingCipher(keys, &h.immutable)
	if err != nil {
		return nil, err
	}
	return &object{
		info: Info{
			Name:       name,
			Size:       size,
			Version:    obj.Version,
			Modified:   h.immutable.modified(),
			Metadata:   metadata,
			KeyVersion: h.wrapped.version,
		},
		segmentSize: h.immutable.segmentSize,
		cipher:      cipher,
	}, nil
}

// newReader returns a Reader over a span of a body, which it takes over. A body
// of one segment is read and opened at once, without the buffers of a stream.
func newReader(ob *object, body io.ReadCloser, span segment.Span, bodySize int64) (*Reader, error) {
	if span.Length < bodySize || bodySize > int64(ob.segmentSize) {
		return &Reader{info: ob.info, plain: ob.cipher.Decrypt(body, span), body: body}, nil
	}
	defer body.Close()
	sealed, release, err := readWhole(body, int(bodySize))
	if err != nil {
		return nil, err
	}
	defer release()
	plaintext, err := ob.cipher.Open(sealed)
	if err != nil {
		return nil, err
	}
	return &Reader{info: ob.info, plain: newMemoryReader(plaintext, span.Cut(plaintext)), body: body}, nil
}

// readWhole returns size bytes of a body, where they have arrived if that lends them in
// one chunk. They are in use until release.
func readWhole(body io.Reader, size int) (sealed []byte, release func(), err error) {
	var begun []byte // what was lent, if it was not all
	if chunks, ok := body.(backend.ChunkReader); ok && size > 0 {
		chunk, release, err := chunks.NextChunk(size)
		switch {
		case err == io.EOF:
			return nil, nil, errEndsEarly()
		case err != nil:
			return nil, nil, err
		case len(chunk) == size:
			return chunk, release, nil
		}
		defer release()
		if len(chunk) > size {
			return nil, nil, errors.New("the backend lent more than it was asked for")
		}
		begun = chunk
	}
	sealed = make([]byte, size)
	n := copy(sealed, begun)
	if _, err := segment.ReadFull(body, sealed[n:]); err == io.EOF {
		return nil, nil, errEndsEarly()
	} else if err != nil {
		return nil, nil, err
	}
	return sealed, func() {}, nil
}

func errEndsEarly() error { return fmt.Errorf("%w (body ends early)", atrest.ErrTampered) }

// Info returns what is known of the object.
func (r *Reader) Info() Info { return r.info }

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.plain.Read(p)
	if err != nil && err != io.EOF {
		err = opError("read", r.info.Name, err)
	}
	return n, err
}

// WriteTo implements io.WriterTo. An error of w is returned as it is.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	ew := &errorWriter{w: w}
	n, err := r.plain.WriteTo(ew)
	if err != nil && ew.err == nil {
		err = opError("read", r.info.Name, err)
	}
	return n, err
}

// Close wipes the buffers and ends the fetching. It may be called twice.
func (r *Reader) Close() error {
	r.plain.Close()
	return r.body.Close()
}

// Format implements fmt.Formatter: no verb shows plaintext.
func (r *Reader) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "storage.Reader(%q)", r.info.Name) }
