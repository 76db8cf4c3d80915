package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"syscall"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// leafSuffix ends the name of each header file, so that "dir" and "dir/file"
// can both be objects: no component of an escaped name ends with it.
const leafSuffix = "!"

// headerPath is where the header file of an escaped name is, headerDir the
// directory that holds it.
func headerPath(escaped string) string { return objectsDir + "/" + escaped + leafSuffix }
func headerDir(escaped string) string  { return path.Dir(headerPath(escaped)) }

// A found is what was at a name: a record, damage, or nothing.
type found struct {
	rec    *record
	inline []byte // the body, if rec.inline and it was asked for
	damage error
}

func (at found) missing() bool { return at.rec == nil && at.damage == nil }

// meets returns the refusal if cond does not allow a change of what was found.
func (at found) meets(cond backend.Condition) error {
	switch {
	case cond.IfAbsent && !at.missing():
		return atrest.ErrExists
	case cond.IfVersion == "":
		return nil
	case at.missing():
		return fmt.Errorf("%w: it is gone", atrest.ErrConflict)
	case at.damage != nil:
		return at.damage
	case at.rec.id.version() != cond.IfVersion:
		return atrest.ErrConflict
	}
	return nil
}

// lookup reads the head of an object's header file. A header file is never
// changed where it is, only replaced by rename, so what is read is of one piece.
func (s *Store) lookup(escaped string) (found, error) { return s.read(escaped, false) }

// read is lookup and, if withBody, reads an inline body too.
func (s *Store) read(escaped string, withBody bool) (found, error) {
	name := headerPath(escaped)
	file, info, err := s.openRegular(name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return found{}, nil
	case errors.Is(err, errNotRegular):
		return found{damage: damaged(err)}, nil
	case err != nil:
		return found{}, err
	}
	defer file.Close()
	at, err := parseFile(file, info.Size(), withBody)
	if errors.Is(err, errDamaged) {
		return found{damage: damaged(fmt.Errorf("%s: %w", name, err))}, nil
	}
	return at, describe("read", name, err)
}

// damaged makes an error that callers recognise as ErrTampered.
func damaged(err error) error { return fmt.Errorf("%w: %w", atrest.ErrTampered, err) }

// parseFile reads a header file of size bytes. Nothing larger than the largest
// possible one is read.
func parseFile(r io.ReaderAt, size int64, withBody bool) (found, error) {
	head := make([]byte, min(size, int64(maxHead)))
	if err := readFull(r, head, 0); err != nil {
		return found{}, err
	}
	rec, err := parseHead(head, size)
	if err != nil || !rec.inline || !withBody {
		return found{rec: rec}, err
	}
	rest := make([]byte, size-int64(rec.headSize()))
	n := copy(rest, head[rec.headSize():])
	if err := readFull(r, rest[n:], int64(len(head))); err != nil {
		return found{}, err
	}
	body, err := parseInline(rest)
	return found{rec: rec, inline: body}, err
}

// readFull fills p. Header files don't shrink, so one that does is damaged.
func readFull(r io.ReaderAt, p []byte, offset int64) error {
	n, err := r.ReadAt(p, offset)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		return errDamaged
	}
	return err
}
