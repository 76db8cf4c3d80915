package backend

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/atrest/atrest"
)

const (
	// MaxRecord is the length in bytes of the longest record.
	MaxRecord = 64 << 10

	// MaxRecordName is the length in bytes of the longest name of a record.
	MaxRecordName = 64

	// MaxRevision is the length in bytes of the longest [Revision].
	MaxRevision = 64
)

// Records is a keeper of a few small records, each under a name: the special
// table. What is in it can't be made again, such as a sealed unseal key, so
// nothing is ever replaced or removed unless the caller has seen it.
//
// # Durability
//
// When PutRecord or DeleteRecord returns nil, the change survives the death of
// the process and, on backends that own their disks, of the machine; a database
// is told to commit durably, whatever its settings say for other changes.
// When one returns an error the change has either happened whole or not at all;
// where the error is one of the refusals named below, it has not happened. A
// reader may see a change a moment before it is durable, and so before PutRecord
// returns.
//
// # Compare and swap
//
// A reader gets the old record or the new one, whole, and all of it belongs to
// one revision. A change that has returned is seen by every call that begins
// afterwards. Each PutRecord that happens makes a new revision, which is never used
// again for that name, even for equal bytes or after a DeleteRecord, a restart, or
// the loss of all other memory. Of any number of changes at once, in any number of
// processes, that name one revision or the absence of one, exactly one happens.
//
// # Retries
//
// Every method may be repeated after an error of unknown outcome. A repeated
// PutRecord may find its own first attempt, and report ErrExists or ErrConflict: then
// GetRecord tells, by the data. A repeated DeleteRecord of what is gone succeeds.
//
// # Locks
//
// LockRecords excludes others for longer than a single change takes. It is a
// courtesy, not a fence: a process that is stopped for a while, or cut off, may learn
// too late that somebody else has the lock. What must not happen twice
// is decided by compare-and-swap besides.
//
// # Names
//
// See [CheckRecordName]. Every method checks the name before any input or output and
// returns ErrInvalidName; ListRecords likewise for a prefix that cannot begin a name.
//
// # Damage
//
// What can be told to be not what was put there under that name is ErrTampered,
// never an empty or missing record. Such a record is listed, is ErrExists to who
// would create it, and ErrTampered to who would replace or delete it where the
// engine can't tell its revision any more. To mend it is an operator's work.
//
// # Errors and cancellation
//
// Errors are those of package atrest, to be told apart with errors.Is. Where several
// apply, any of them may be returned. When ctx ends before a method is done, it
// returns an error for which errors.Is finds ctx.Err(), and has changed nothing,
// except where a server across the network has been told to make the
// change and has not answered: that may happen nevertheless, whole.
// All methods may be called concurrently.
type Records interface {
	// GetRecord returns the record. One that is not there is ErrNotFound. The data
	// are the caller's to change.
	GetRecord(ctx context.Context, name string) (Record, error)

	// PutRecord stores data, 1 to MaxRecord bytes of it, under name and returns the
	// new revision. With an empty old it creates the record, and returns ErrExists if
	// there is one. Else it replaces the revision old, and returns ErrConflict if that
	// is not the present one, also where there is no record. Longer data are
	// ErrTooLarge, and none at all ErrUnsupported.
	PutRecord(ctx context.Context, name string, data []byte, old Revision) (Revision, error)

	// DeleteRecord removes the record if it is of the revision old. One that is not
	// there is a success, so that a DeleteRecord may be repeated; one of another
	// revision is ErrConflict. An empty old is ErrUnsupported: nobody removes what they
	// have not read.
	DeleteRecord(ctx context.Context, name string, old Revision) error

	// ListRecords yields the names that begin with prefix, in bytewise order. Records
	// created or deleted during the listing may or may not appear; all others appear
	// exactly once. An error is yielded once, as the last pair. The consumer may
	// call any method between names.
	ListRecords(ctx context.Context, prefix string) iter.Seq2[string, error]

	// LockRecords waits, until ctx ends, for the lock of that name and takes it. It is
	// exclusive among all who use the same records, in whatever process, and has nothing
	// to do with a record of the same name, which need not be there. It ends with
	// the process. The lock is not reentrant: who has it and asks again waits for
	// themselves.
	//
	// The context returned is a child of ctx. It ends when the lock is released, just
	// before that; when it was lost, with [context.Cause] telling why; and with
	// ctx. Who does something under the lock does it with this context. That ctx has
	// ended does not release the lock: only unlock does, which must be called, may be
	// called again and from any goroutine, and returns once the lock is released.
	// Both are nil if err is not.
	LockRecords(ctx context.Context, name string) (held context.Context, unlock func(), err error)
}

// A Record is the answer to a GetRecord.
type Record struct {
	Data     []byte
	Revision Revision
}

// A Revision names one state of one record. It is opaque, compared for equality only,
// at most MaxRevision bytes long, and that of a record is never empty.
type Revision string

// CheckRecordName returns ErrInvalidName unless name is 1 to MaxRecordName bytes of
// a–z, 0–9, ".", "_" and "-", the first of them a letter or digit. Such a name is a file's
// name and a row's key as it stands, on every engine.
func CheckRecordName(name string) error {
	if name == "" {
		return fmt.Errorf("%w: it is empty", atrest.ErrInvalidName)
	}
	return CheckRecordPrefix(name)
}

// CheckRecordPrefix is [CheckRecordName] for the beginning of a name, which may be empty.
func CheckRecordPrefix(prefix string) error {
	if len(prefix) > MaxRecordName {
		return fmt.Errorf("%w: it is longer than %d bytes", atrest.ErrInvalidName, MaxRecordName)
	}
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	for i := range len(prefix) {
		if !strings.Contains(letters, prefix[i:i+1]) && (i == 0 || !strings.Contains("._-", prefix[i:i+1])) {
			return fmt.Errorf("%w: a record's name is letters a to z, digits, and after the first of these periods, underscores and hyphens", atrest.ErrInvalidName)
		}
	}
	return nil
}

// CheckRecord checks the arguments of a PutRecord: the name, and that data are of a
// length that is allowed.
func CheckRecord(name string, data []byte) error {
	if err := CheckRecordName(name); err != nil {
		return err
	}
	if len(data) > MaxRecord {
		return fmt.Errorf("%w: the record has %d bytes, the limit is %d", atrest.ErrTooLarge, len(data), MaxRecord)
	}
	if len(data) == 0 {
		return fmt.Errorf("%w: an empty record", atrest.ErrUnsupported)
	}
	return nil
}

// CheckRecordRevision checks the arguments of a DeleteRecord: the name, and that there is
// a revision.
func CheckRecordRevision(name string, old Revision) error {
	if err := CheckRecordName(name); err != nil {
		return err
	}
	if old == "" {
		return fmt.Errorf("%w: a deletion of whatever there is", atrest.ErrUnsupported)
	}
	return nil
}
