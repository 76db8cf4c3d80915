package storage

import (
	"context"

	"github.com/atrest/atrest/backend"
)

// DeleteOptions refine a deletion. A nil *DeleteOptions is the zero one.
type DeleteOptions struct {
	// IfVersion, if not empty, makes the deletion fail with ErrConflict if the
	// object is there but of another version.
	IfVersion Version
}

// Delete removes an object. If there is none of that name, that is a success,
// so a Delete can be repeated. Removing a file does not erase it from a disk,
// but what remains is ciphertext whose data key is gone with the header.
//
// Errors: ErrInvalidName, ErrConflict, ErrUnsupported, and those of the backend.
// Vault is not asked.
func (s *Store) Delete(ctx context.Context, name string, opts *DeleteOptions) error {
	if opts == nil {
		opts = new(DeleteOptions)
	}
	if err := s.blobs.Delete(ctx, name, backend.Condition{IfVersion: opts.IfVersion}); err != nil {
		return opError("delete", name, err)
	}
	return nil
}
