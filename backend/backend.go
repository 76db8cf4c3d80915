// Package backend defines what atrest asks of a place to keep ciphertext.
//
// A backend sees names, headers and bodies. It never sees a key or a
// plaintext, and is not trusted: package storage authenticates all that comes
// back. What a backend is trusted with is durability and atomicity, and the
// contract of [Blobs] says exactly how. Package backendtest holds the suite
// that each implementation passes.
package backend

import (
	"context"
	"io"
	"iter"
)

// MaxHeader is the length in bytes of the longest header. In base64 it takes
// two thirds of the 2 KB that S3 allows all user metadata of an object.
const MaxHeader = 1024

// MaxVersion is the length in bytes of the longest [Version].
const MaxVersion = 255

// Blobs is a keeper of objects, each a small header and a body of any size
// under a name.
//
// # Durability
//
// When Put, SetHeader, Copy or Delete returns nil, the change survives the
// death of the process and, on backends that own their disks, of the machine.
// When one returns an error the change has either happened whole or not at
// all; where the error is one of the refusals named below, it has not happened.
//
// # Consistency
//
// Header and body of one object are replaced together: a reader that overlaps
// an overwrite gets the old object or the new one, whole, and goes on reading
// the one it has begun to the end, or fails. A change that has returned is seen
// by every call that begins afterwards. There is no moment during an overwrite
// at which the name is missing.
//
// Each Put and each Copy makes a new content version, an opaque string that is
// never used again for that name, even for equal bytes or after a Delete.
// SetHeader keeps the content version: it changes what is known about a body,
// not the body.
//
// # Retries
//
// Every method may be repeated after an error of unknown outcome. A repeated
// conditional change may then find its own first attempt, and report
// ErrExists or ErrConflict.
//
// # Names
//
// A name is any non-empty valid UTF-8 string without NUL whose escaped form
// (see [Escape]) is at most [MaxEscapedName] bytes long. Every method checks
// this before any input or output and returns ErrInvalidName, List likewise for
// a prefix or an after that cannot begin a name.
//
// # Errors and cancellation
//
// Errors are those of package atrest, to be told apart with errors.Is. Where
// several apply, any of them may be returned. A header longer than MaxHeader is
// ErrTooLarge. When ctx ends before a method is done, also in the midst of a
// body or of a listing, it returns an error for which errors.Is finds ctx.Err(),
// has changed nothing, and leaves nothing behind. (Where a server across the
// network has been told to make the change and has not answered yet, that may
// happen nevertheless, whole.) If a body panics, nothing is
// changed and no lock stays held. All methods may be called concurrently.
type Blobs interface {
	// Put stores an object under name, replacing any that is there if cond
	// allows, and returns its new content version.
	//
	// The body is read to EOF, exactly once, and not closed. If the body has a
	// method Len() int, as bytes.Reader has, it tells the size beforehand; if
	// that turns out to be wrong, Put stores what it read to EOF or fails. An
	// error from the body other than io.EOF is returned so that errors.Is and
	// errors.As find it, and the old object stays. Memory in use does not grow
	// with the size of the body.
	//
	// It returns ErrExists or ErrConflict where cond is not met, ErrConflict also
	// where cond names a version and there is no object, and ErrUnsupported where
	// cond can't be checked atomically.
	Put(ctx context.Context, name string, header []byte, body io.Reader, cond Condition) (Version, error)

	// Get returns the header and, as a stream, the part of the body that rng
	// selects. All of it belongs to one content version. A range that reaches
	// past the end is cut at the end; one that starts there or beyond is empty.
	// The caller closes Object.Body, which is never nil when err is nil.
	//
	// If version is not empty, the object must be of that content version, else
	// ErrConflict. A name that is not there is ErrNotFound.
	//
	// ctx governs the reading of the body too, until it is closed.
	Get(ctx context.Context, name string, rng Range, version Version) (*Object, error)

	// SetHeader replaces the header of one content version if it still is what
	// the caller read: a compare-and-swap over the version and the old header.
	// It returns ErrConflict if the object is gone, has another version, or has
	// another header, and ErrUnsupported if the engine can't tell atomically. An
	// engine that can compare the version atomically, but not the header, looks at
	// the header just before, and its documentation says so. The body is never
	// touched.
	SetHeader(ctx context.Context, update HeaderUpdate) error

	// Copy makes the body of src, of content version srcVersion, available
	// under dst with the header given, as a new object. The bytes need not pass
	// through this process. Source and destination share no fate: either may be
	// replaced or deleted without the other. dst may equal src.
	//
	// It returns ErrNotFound if src is not there, ErrConflict if src is of
	// another version or cond.IfVersion is not met, and ErrExists if cond.IfAbsent
	// is not met. An empty srcVersion is no version: ErrConflict.
	Copy(ctx context.Context, dst, src string, srcVersion Version, header []byte, cond Condition) (Version, error)

	// Delete removes the object. A name that is not there is a success, also
	// where cond names a version, so that a Delete may be repeated. An object of
	// another version than cond.IfVersion is ErrConflict; cond.IfAbsent makes no
	// sense here and is ErrUnsupported.
	Delete(ctx context.Context, name string, cond Condition) error

	// List yields the objects whose names begin with prefix and whose escaped
	// names sort after the escaped form of after (empty: from the beginning), in
	// bytewise order of their escaped names. It holds a bounded number of
	// entries at a time. Objects put or deleted during the listing may or may
	// not appear; all others appear exactly once. An error is yielded once, as
	// the last pair. The consumer may call any method, Delete and SetHeader
	// included, between entries.
	List(ctx context.Context, prefix, after string) iter.Seq2[Entry, error]
}

// A Version names one content of one name. It is opaque, compared for equality
// only, at most MaxVersion bytes long and never empty.
type Version string

// A Condition restricts a change. The zero Condition allows everything. At
// most one field may be set; both is ErrUnsupported.
type Condition struct {
	// IfAbsent allows the change only where the name is not there.
	IfAbsent bool
	// IfVersion, if not empty, allows the change only where the object is of
	// this content version.
	IfVersion Version
}

// A Range selects bytes of a body, from Offset, Length of them. A negative
// Length means up to the end; zero, as in the zero Range, selects no body at
// all, so that a Get fetches the header alone. Offset is never negative.
type Range struct {
	Offset, Length int64
}

// All is the Range of a whole body.
var All = Range{0, -1}

// Clamp returns the part of r that lies within a body of size bytes, as a
// first offset and a count of bytes.
func (r Range) Clamp(size int64) (offset, n int64) {
	offset = min(max(r.Offset, 0), size)
	n = size - offset
	if r.Length >= 0 {
		n = min(n, r.Length)
	}
	return offset, n
}

// Attrs are what a backend knows of an object besides its bytes. None of it is
// authenticated.
type Attrs struct {
	// Size is the length of the whole body in bytes.
	Size int64
	// Version is the content version.
	Version Version
}

// An Object is the answer to a Get.
type Object struct {
	Attrs
	Header []byte
	// Body yields exactly the bytes selected and then io.EOF. If the engine holds
	// fewer than Attrs.Size promises, it fails with ErrTampered; if they were
	// lost on the way here, with another error. Read fails after Close; Close may
	// be called again.
	Body io.ReadCloser
}

// An Entry is one object of a listing.
type Entry struct {
	Attrs
	Name string
	// Header is nil where the engine's listing does not include it, or where the
	// object is damaged. Version is then either right or empty. A Get with the
	// zero Range fetches both, or tells what is wrong.
	Header []byte
}

// A HeaderUpdate replaces the header Old of content Version of Name by New.
type HeaderUpdate struct {
	Name     string
	Version  Version
	Old, New []byte
}

// A HeaderBatcher is a [Blobs] that replaces many headers faster together than
// one by one. It is optional; package storage uses it where it is there.
type HeaderBatcher interface {
	// SetHeaders does what SetHeader does for each update, in any order, and
	// returns as many errors as it is given updates: nil, or what SetHeader would
	// have returned for it. One update that fails fails alone, but for an error of
	// the engine, which may be the answer to many. Two updates of one name in one
	// call are handled one after the other, as if called so; which is first is
	// not defined. Updates may be any number, also none.
	SetHeaders(ctx context.Context, updates []HeaderUpdate) []error
}

// A SmallPut is one of the puts of a PutBatch: what Put takes, with a body that is
// in memory.
type SmallPut struct {
	Name     string
	Header   []byte
	Body     []byte
	IfAbsent bool
}

// A PutBatcher is a [Blobs] that puts many small objects faster together than one
// by one. It is optional; package storage uses it where it is there.
type PutBatcher interface {
	// PutBatch does what Put does for each, in any order, and returns as many
	// versions and errors as it is given puts. One put that fails fails alone, but for
	// an error of the engine, which may be the answer to many: of each, Put's
	// contract holds as it does with that error. Of several puts of one
	// name, each is answered as if they had been called one after the other; which
	// is first is not defined. Nothing of a put is kept or changed. Bodies should be of some
	// 16 KiB at most, and may be of any length. Puts may be any number, also none.
	PutBatch(ctx context.Context, puts []SmallPut) ([]Version, []error)
}
