package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/segment"
)

// CopyOptions refine a copy or a rename. A nil *CopyOptions is the zero one.
type CopyOptions struct {
	// IfAbsent makes it fail with ErrExists if the destination is taken.
	IfAbsent bool
	// IfVersion, if not empty, makes it fail with ErrConflict unless the
	// destination is there and is of this version, or if the source is replaced
	// meanwhile.
	IfVersion Version
}

// Copy makes dst an object with the content, metadata and time of src. Nothing
// is encrypted again: the backend copies the body's ciphertext, and Vault wraps
// the same data key for the new name. The body is not authenticated on the way;
// reading either object does that.
//
// The two objects then are independent, but share a data key, so whoever has
// had one of the wrapped keys opened has the key of both.
//
// Errors are those of Get and Put.
func (s *Store) Copy(ctx context.Context, dst, src string, opts *CopyOptions) (Info, error) {
	info, _, err := s.copy(ctx, dst, src, opts)
	if err != nil {
		return Info{}, opError("copy to", dst, err)
	}
	return info, nil
}

// Rename is a Copy and the deletion of src. It is not atomic: if the process
// dies in between, both names hold the object, and the same Rename repairs that
// (with IfAbsent it reports ErrExists instead). If src has been replaced
// meanwhile, the new object is not deleted and Rename returns ErrConflict; dst
// then holds what src held before. Of two Renames of one src at the same time both
// may succeed, and both destinations hold the object. A backend that can't delete on condition is
// ErrUnsupported, and nothing is copied.
func (s *Store) Rename(ctx context.Context, dst, src string, opts *CopyOptions) (Info, error) {
	// A version that no object has: this deletes nothing, but says whether the
	// deletion at the end will be possible.
	err := s.blobs.Delete(ctx, src, backend.Condition{IfVersion: "none"})
	if !errors.Is(err, atrest.ErrConflict) && err != nil {
		return Info{}, opError("rename to", dst, err)
	}
	info, srcVersion, err := s.copy(ctx, dst, src, opts)
	if err == nil && dst != src {
		err = s.blobs.Delete(ctx, src, backend.Condition{IfVersion: srcVersion})
	}
	if err != nil {
		return Info{}, opError("rename to", dst, err)
	}
	return info, nil
}

func (s *Store) copy(ctx context.Context, dst, src string, opts *CopyOptions) (info Info, srcVersion Version, err error) {
	if opts == nil {
		opts = new(CopyOptions)
	}
	if _, err := backend.Escape(dst); err != nil {
		return Info{}, "", err
	}
	cond := backend.Condition{IfAbsent: opts.IfAbsent, IfVersion: opts.IfVersion}
	for range attempts {
		info, srcVersion, err = s.tryCopy(ctx, dst, src, cond)
		// Without a condition on dst, a conflict means that src was replaced.
		if opts.IfVersion != "" || !errors.Is(err, atrest.ErrConflict) {
			break
		}
	}
	return info, srcVersion, err
}

func (s *Store) tryCopy(ctx context.Context, dst, src string, cond backend.Condition) (info Info, srcVersion Version, err error) {
	obj, err := s.blobs.Get(ctx, src, backend.Range{}, "")
	if err != nil {
		return Info{}, "", fmt.Errorf("from %q: %w", src, err)
	}
	obj.Body.Close()
	h, err := parseHeader(obj.Header)
	if err != nil {
		return Info{}, "", fmt.Errorf("from %q: %w", src, err)
	}
	keys, err := s.unwrap(ctx, src, h)
	if err != nil {
		return Info{}, "", fmt.Errorf("from %q: %w", src, err)
	}
	defer keys.wipe()
	dataKey := keys.data[:]

	info = Info{Name: dst, Modified: h.immutable.modified()}
	if info.Size, err = segment.PlainSize(obj.Size, h.immutable.segmentSize); err != nil {
		return Info{}, "", fmt.Errorf("from %q: %w", src, err)
	}
	if info.Metadata, err = h.immutable.openMetadata(dataKey); err != nil {
		return Info{}, "", fmt.Errorf("from %q: %w", src, err)
	}
	if h.wrapped, err = s.wrap(ctx, dst, dataKey); err != nil {
		return Info{}, "", err
	}
	if err := h.immutable.sign(dataKey, s.keyContext(dst)); err != nil {
		return Info{}, "", err
	}
	info.KeyVersion = h.wrapped.version
	info.Version, err = s.blobs.Copy(ctx, dst, src, obj.Version, h.marshal(), cond)
	return info, obj.Version, err
}
