package storage

import (
	"bytes"
	"context"
	"fmt"
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
	// object is there and is of this version.
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
// Errors: ErrInvalidName, ErrTooLarge (metadata, or more than 2³² segments),
// ErrExists, ErrConflict, ErrUnsupported (the backend can't keep a condition),
// and those of the key wrapper and the backend.
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
	if err := h.immutable.sign(dataKey); err != nil {
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
	body, done, err := seal(cipher, counted, h.immutable.segmentSize)
	if err != nil {
		return Info{}, err
	}
	defer done()
	version, err := s.blobs.Put(ctx, name, h.marshal(), body, backend.Condition{IfAbsent: opts.IfAbsent, IfVersion: opts.IfVersion})
	if err != nil {
		return Info{}, err
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

// seal returns the body for src, and what to call when it is no longer needed.
// A source that says that it fits one segment is sealed at once, so that the
// backend can see how long the body is and no buffer of a stream's size is
// taken.
func seal(cipher *segment.Cipher, src *countingReader, segmentSize int) (io.Reader, func(), error) {
	sized, ok := src.src.(interface{ Len() int })
	if !ok || sized.Len() > segmentSize {
		encrypter := cipher.Encrypt(src)
		return encrypter, func() { encrypter.Close() }, nil
	}
	// The source may yield more than it said: read on to the end.
	plaintext := bytes.NewBuffer(make([]byte, 0, sized.Len()+bytes.MinRead))
	defer func() { clear(plaintext.Bytes()[:plaintext.Cap()]) }()
	if _, err := plaintext.ReadFrom(io.LimitReader(src, int64(segmentSize)+1)); err != nil {
		return nil, nil, err
	}
	if plaintext.Len() > segmentSize {
		return nil, nil, fmt.Errorf("source yields more bytes than its Len method said")
	}
	body, err := cipher.Seal(plaintext.Bytes())
	if err != nil {
		return nil, nil, err
	}
	return bytes.NewReader(body), func() {}, nil
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
