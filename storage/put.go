package storage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/segment"
)

// PutOptions refine a put. A nil *PutOptions is the zero one.
type PutOptions struct {
	// Metadata is sealed with the object.
	Metadata Metadata
	// IfAbsent makes the put fail with ErrExists if the name is taken.
	IfAbsent bool
	// IfVersion, if not empty, makes the put fail with ErrConflict unless the
	// object is there and is of this version. Mind that the Info of a failed call
	// has an empty Version, which is no condition. Both conditions together are
	// ErrUnsupported.
	IfVersion Version
}

// Put encrypts what src yields up to io.EOF, and stores it under name in the
// place of whatever is there. When it returns nil, the object is as durable as
// the backend makes it; when it returns an error, the name holds what it held
// before, or, if the connection to the backend was lost while it answered, the
// new object whole.
//
// The length of src need not be known, and the memory in use does not depend on
// it. Put does not close src. An error of src is in the result. Put can't
// interrupt a Read of src that blocks, so cancel what src reads from too.
//
// Errors: metadata that is not UTF-8, ErrInvalidName, ErrTooLarge (metadata, or
// more than 2³² segments), ErrExists, ErrConflict, ErrUnsupported (the backend
// can't keep a condition), and those of the key wrapper and the backend.
func (s *Store) Put(ctx context.Context, name string, src io.Reader, opts *PutOptions) (Info, error) {
	if opts == nil {
		opts = new(PutOptions)
	}
	info, err := s.put(ctx, name, src, opts)
	if err != nil {
		return Info{}, opError("put", name, err)
	}
	return info, nil
}

// PutBytes is [Store.Put] for a secret that is in memory.
func (s *Store) PutBytes(ctx context.Context, name string, secret []byte, opts *PutOptions) (Info, error) {
	return s.Put(ctx, name, bytes.NewReader(secret), opts)
}

func (s *Store) put(ctx context.Context, name string, src io.Reader, opts *PutOptions) (Info, error) {
	if _, err := backend.Escape(name); err != nil {
		return Info{}, err
	}
	encoded, err := opts.Metadata.encode()
	if err != nil {
		return Info{}, err
	}
	defer clear(encoded)

	dataKey := newDataKey()
	defer clear(dataKey)
	h := s.newHeader()
	if err := h.immutable.sealMetadata(dataKey, encoded); err != nil {
		return Info{}, err
	}
	if err := h.immutable.sign(dataKey, s.keyContext(name)); err != nil {
		return Info{}, err
	}
	if h.wrapped, err = s.wrap(ctx, name, dataKey); err != nil {
		return Info{}, err
	}
	cipher, err := s.bodyCipher(dataKey, &h.immutable)
	if err != nil {
		return Info{}, err
	}

	counted := &countingReader{src: src}
	body, err := seal(cipher, counted, sizeHint(src), h.immutable.segmentSize)
	if err != nil {
		return Info{}, err
	}
	defer body.close()
	version, err := s.blobs.Put(ctx, name, h.marshal(), body, backend.Condition{IfAbsent: opts.IfAbsent, IfVersion: opts.IfVersion})
	if err != nil {
		return Info{}, err
	}
	if !body.finished() {
		return Info{}, errors.New("the backend has not read the whole object")
	}
	return Info{
		Name:       name,
		Size:       counted.n,
		Version:    version,
		Modified:   h.immutable.modified(),
		Metadata:   opts.Metadata,
		KeyVersion: h.wrapped.version,
	}, nil
}

// newHeader returns a header for a new object, complete but for the metadata,
// the tag and the wrapped key.
func (s *Store) newHeader() *header {
	return &header{
		immutable: immutable{
			segmentSize: s.segmentSize,
			micros:      uint64(max(time.Now().UnixMicro(), 0)),
			prefix:      segment.NewPrefix(),
		},
		mount: s.mount,
		key:   s.key,
	}
}

// A sealed is the body of an object on its way to the backend.
type sealed interface {
	io.Reader
	// finished reports whether all of it has been read.
	finished() bool
	close()
}

// seal returns the body for src. A source that says that it fits one segment,
// and does, is sealed at once, so that the backend can see how long the body is
// and no buffer of a stream's size is taken.
func seal(cipher *segment.Cipher, src io.Reader, hint, segmentSize int) (sealed, error) {
	if hint < 0 || hint >= segmentSize {
		return sealedStream{cipher.Encrypt(src)}, nil
	}
	plaintext := make([]byte, hint+1)
	n, err := segment.ReadFull(src, plaintext)
	plaintext = plaintext[:n]
	defer clear(plaintext)
	switch {
	case err == io.EOF:
		body, err := cipher.Seal(plaintext)
		return sealedBytes{bytes.NewReader(body)}, err
	case err != nil:
		return nil, err
	}
	// It yields more than it said.
	begun := bytes.Clone(plaintext)
	return sealedStream{cipher.Encrypt(io.MultiReader(&wipingReader{begun}, src))}, nil
}

// sizeHint returns how many bytes a source says it will yield, or -1.
func sizeHint(src io.Reader) int {
	if sized, ok := src.(interface{ Len() int }); ok {
		return sized.Len()
	}
	return -1
}

type sealedBytes struct{ *bytes.Reader }

func (s sealedBytes) finished() bool { return s.Len() == 0 }
func (s sealedBytes) close()         {}

type sealedStream struct{ *segment.Encrypter }

func (s sealedStream) finished() bool { return s.Finished() }
func (s sealedStream) close()         { s.Close() }

// A wipingReader wipes what has been read of it.
type wipingReader struct{ rest []byte }

func (w *wipingReader) Read(p []byte) (int, error) {
	if len(w.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, w.rest)
	clear(w.rest[:n])
	w.rest = w.rest[n:]
	return n, nil
}

// countingReader counts what a source yields.
type countingReader struct {
	src io.Reader
	n   int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.src.Read(p)
	c.n += int64(n)
	return n, err
}
