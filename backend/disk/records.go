package disk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// The names directly under the directory of [Records].
const (
	recordsDir     = "records"    // a file for each record, called like it
	recordLocksDir = "locks"      // a file for each lock, called like it; never removed
	changeLock     = "lock"       // held with flock while a record is changed
	recordTemp     = "record.new" // the record in the making, by who holds that lock
)

// A RecordsConfig says where the records are.
type RecordsConfig struct {
	// Dir is a directory of their own, and must not be empty. It is made with mode 0700
	// if it is missing; its parent must exist. A directory that holds something else,
	// that belongs to another user than this process's or root, or on which group or
	// others have any right, is refused.
	Dir string

	// hook sees each step that changes the file system; for tests.
	hook func(op, name string, step func() error) error
}

// Records keeps small records in a directory, one file each. It implements
// [backend.Records] and is safe for concurrent use, by any number of goroutines and, each
// with Records of its own, of processes. Its locks are those of flock(2): they end with
// the process, and can't be lost before.
type Records struct {
	store *Store // of which there are the files and the way to lock one
}

var _ backend.Records = (*Records)(nil)

// NewRecords opens the records in cfg.Dir, making it if need be.
func NewRecords(ctx context.Context, cfg RecordsConfig) (*Records, error) {
	r, err := openRecords(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("disk: open records in %s: %w", cfg.Dir, err)
	}
	return r, nil
}

func openRecords(ctx context.Context, cfg RecordsConfig) (*Records, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if cfg.Dir == "" {
		return nil, errors.New("RecordsConfig.Dir is empty")
	}
	if _, err := makeDir(cfg.Dir); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(cfg.Dir)
	if err != nil {
		return nil, err
	}
	f := files{root: root, hook: cfg.hook}
	if err := errors.Join(prepareRecords(&f), syncParentOf(cfg.Dir)); err != nil {
		root.Close()
		return nil, err
	}
	return &Records{&Store{files: f}}, nil
}

// syncParentOf makes the directory's own name durable, where that may be done: if not,
// whoever made it has to answer.
func syncParentOf(dir string) error {
	if err := syncParent(dir); !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// prepareRecords checks the directory and makes what is missing, under a lock on the
// directory itself, so that of several that start at once each finds it either empty
// or prepared.
func prepareRecords(f *files) error {
	self, err := f.root.Open(".")
	if err != nil {
		return err
	}
	defer self.Close() // which releases the lock too
	info, err := self.Stat()
	if err != nil {
		return err
	}
	if err := checkPrivate("directory", info); err != nil {
		return err
	}
	if err := flock(self, true); err != nil {
		return fmt.Errorf("lock the directory: %w", err)
	}
	if err := checkOwn(self); err != nil {
		return err
	}
	for _, name := range []string{recordLocksDir, recordsDir} {
		if err := prepareSubdir(f, name); err != nil {
			return err
		}
		info, err := f.root.Lstat(name)
		if err != nil {
			return err
		}
		if err := checkPrivate(name, info); err != nil {
			return err
		}
	}
	return f.syncDir(".")
}

// checkPrivate refuses a directory or file on which anybody else has a right. The records
// are sealed; but who can replace them can also take them away.
func checkPrivate(what string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %04o, and group and others must have no right (chmod go-rwx)", atrest.ErrUnsafePermissions, what, mode)
	}
	if uid, ok := foreignOwner(info); ok {
		return fmt.Errorf("%w: %s belongs to user %d, which is neither this process's nor root", atrest.ErrUnsafePermissions, what, uid)
	}
	return nil
}

// checkOwn refuses a directory that is used for something else.
func checkOwn(self *os.File) error {
	names, err := self.Readdirnames(16)
	if err != nil && err != io.EOF {
		return err
	}
	for _, name := range names {
		if !slices.Contains([]string{recordsDir, recordLocksDir, changeLock, recordTemp, "lost+found"}, name) {
			return fmt.Errorf("directory holds something else than records (%q)", name)
		}
	}
	return nil
}

// Close releases the directory. No call may be in progress, and no lock held.
func (r *Records) Close() error { return r.store.root.Close() }

// GetRecord implements [backend.Records]. It takes no lock: a record's file is replaced,
// never changed.
func (r *Records) GetRecord(ctx context.Context, name string) (_ backend.Record, err error) {
	defer annotateRecord(&err, "get", name)
	if err := checkRecordCall(ctx, backend.CheckRecordName(name)); err != nil {
		return backend.Record{}, err
	}
	return r.read(name)
}

// PutRecord implements [backend.Records].
func (r *Records) PutRecord(ctx context.Context, name string, data []byte, old backend.Revision) (_ backend.Revision, err error) {
	defer annotateRecord(&err, "put", name)
	if err := checkRecordCall(ctx, backend.CheckRecord(name, data)); err != nil {
		return "", err
	}
	unlock, err := r.flock(ctx, changeLock)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := r.checkRevision(name, old); err != nil {
		return "", err
	}
	revision := backend.Revision(rand.Text()) // 130 bits: none comes twice
	if err := r.replace(name, marshalRecord(name, revision, data)); err != nil {
		return "", err
	}
	return revision, nil
}

// checkRevision returns what the contract says of a PutRecord over the revision old. The
// caller holds the lock.
func (r *Records) checkRevision(name string, old backend.Revision) error {
	current, err := r.read(name)
	switch {
	case errors.Is(err, atrest.ErrNotFound) && old == "":
		return nil
	case errors.Is(err, atrest.ErrNotFound):
		return atrest.ErrConflict
	case old == "" && (err == nil || errors.Is(err, atrest.ErrTampered)):
		return atrest.ErrExists
	case err != nil:
		return err
	case current.Revision != old:
		return atrest.ErrConflict
	}
	return nil
}

// replace makes the file of a record, in one moment. A death before the rename leaves a
// file without effect, which the next change removes; a machine that dies after it, and
// before the directory is synced, comes back with either record, whole.
func (r *Records) replace(name string, file []byte) error {
	f := &r.store.files
	if err := f.remove(recordTemp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := f.writeFile(recordTemp, file); err != nil {
		return err
	}
	if err := f.rename(recordTemp, recordsDir+"/"+name); err != nil {
		return errors.Join(err, ignoreMissing(f.remove(recordTemp)))
	}
	return f.syncDir(recordsDir)
}

// DeleteRecord implements [backend.Records].
func (r *Records) DeleteRecord(ctx context.Context, name string, old backend.Revision) (err error) {
	defer annotateRecord(&err, "delete", name)
	if err := checkRecordCall(ctx, backend.CheckRecordRevision(name, old)); err != nil {
		return err
	}
	unlock, err := r.flock(ctx, changeLock)
	if err != nil {
		return err
	}
	defer unlock()
	current, err := r.read(name)
	missing := errors.Is(err, atrest.ErrNotFound)
	switch {
	case missing:
	case err != nil:
		return err
	case current.Revision != old:
		return atrest.ErrConflict
	default:
		if err := r.store.remove(recordsDir + "/" + name); err != nil {
			return err
		}
	}
	// Also where it is missing: that may be the doing of a process that died before it
	// came to this.
	return r.store.syncDir(recordsDir)
}

// ListRecords implements [backend.Records]. It lists what there is at its beginning.
func (r *Records) ListRecords(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		names, err := r.list(ctx, prefix)
		for _, name := range names {
			if err = ctx.Err(); err != nil {
				break
			}
			if !yield(name, nil) {
				return
			}
		}
		if err != nil {
			annotateRecord(&err, "list", prefix)
			yield("", err)
		}
	}
}

func (r *Records) list(ctx context.Context, prefix string) ([]string, error) {
	if err := checkRecordCall(ctx, backend.CheckRecordPrefix(prefix)); err != nil {
		return nil, err
	}
	dir, err := r.store.root.Open(recordsDir)
	if err != nil {
		return nil, describe("open", recordsDir, err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, describe("read", recordsDir, err)
	}
	// A file that is called like no record is none of ours, such as an editor's.
	names = slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, prefix) || backend.CheckRecordName(name) != nil
	})
	slices.Sort(names)
	return names, nil
}

// checkRecordCall returns the first of what is wrong with the arguments and with ctx.
func checkRecordCall(ctx context.Context, check error) error {
	if check != nil {
		return check
	}
	return ctx.Err()
}

// annotateRecord adds the operation and the record's name to an error, once.
func annotateRecord(err *error, op, name string) {
	if *err != nil {
		*err = fmt.Errorf("disk: %s record %.100q: %w", op, name, *err)
	}
}
