package storage

import (
	"bytes"
	"context"
	"errors"
	"io"

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
	counted := &countingReader{src: src}
	info, err := s.put(ctx, name, opts, func(c *segment.Cipher) (sealed, error) {
		return seal(c, counted, sizeHint(src), s.segmentSize)
	})
	if err != nil {
		return Info{}, opError("put", name, err)
	}
	info.Size = counted.n
	return info, nil
}

// PutBytes is [Store.Put] for a secret that is in memory.
func (s *Store) PutBytes(ctx context.Context, name string, secret []byte, opts *PutOptions) (Info, error) {
	if opts == nil {
		opts = new(PutOptions)
	}
	info, err := s.put(ctx, name, opts, func(c *segment.Cipher) (sealed, error) {
		return sealSecret(c, secret, s.segmentSize)
	})
	if err != nil {
		return Info{}, opError("put", name, err)
	}
	info.Size = int64(len(secret))
	return info, nil
}

// put puts the body that seal makes, and returns all of the Info but the size.
func (s *Store) put(ctx context.Context, name string, opts *PutOptions, seal func(*segment.Cipher) (sealed, error)) (Info, error) {
	d, err := s.newDraft(name, opts)
	if err != nil {
		return Info{}, err
	}
	defer d.wipe()
	if d.header.wrapped, err = s.wrap(ctx, name, d.dataKey); err != nil {
		return Info{}, err
	}
	version, err := s.putDraft(ctx, d, seal)
	if err != nil {
		return Info{}, err
	}
	return d.info(version), nil
}

// putDraft puts a draft whose data key is wrapped.
func (s *Store) putDraft(ctx context.Context, d *draft, seal func(*segment.Cipher) (sealed, error)) (Version, error) {
	body, err := seal(d.cipher)
	if err != nil {
		return "", err
	}
	defer body.close()
	version, err := s.blobs.Put(ctx, d.name, d.header.marshal(), body, d.cond)
	if err != nil {
		return "", err
	}
	if !body.finished() {
		return "", errors.New("the backend has not read the whole object")
	}
	return version, nil
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
		return sealBytes(cipher, plaintext)
	case err != nil:
		return nil, err
	}
	// It yields more than it said.
	begun := bytes.Clone(plaintext)
	return sealedStream{cipher.Encrypt(io.MultiReader(&wipingReader{begun}, src))}, nil
}

// sealSecret returns the body for a secret that is in memory.
func sealSecret(cipher *segment.Cipher, secret []byte, segmentSize int) (sealed, error) {
	if len(secret) < segmentSize {
		return sealBytes(cipher, secret)
	}
	return sealedStream{cipher.Encrypt(bytes.NewReader(secret))}, nil
}

func sealBytes(cipher *segment.Cipher, plaintext []byte) (sealed, error) {
	body, err := cipher.Seal(plaintext)
	return sealedBytes{bytes.NewReader(body)}, err
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
