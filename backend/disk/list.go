package disk

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/atrest/atrest/backend"
)

// listBatch is how many names of one directory a listing holds at a time. A
// directory of more is read several times over.
const listBatch = 16 << 10

// List yields objects as [backend.Blobs] says, with their headers. An object
// whose header file is damaged is yielded with its name alone, no version and a
// nil header, so that it does not hide those after it; Get tells what is wrong
// with it. Files that no Store has made are logged and passed over.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
	return func(yield func(backend.Entry, error) bool) {
		l, err := s.newListing(ctx, prefix, after)
		if err == nil {
			l.yield = func(e backend.Entry) bool { return yield(e, nil) }
			err = l.walk(l.start)
		}
		if err != nil && !errors.Is(err, errStopped) {
			annotate(&err, "list", prefix)
			yield(backend.Entry{}, err)
		}
	}
}

// errStopped ends a walk whose consumer wants no more.
var errStopped = errors.New("stopped")

// A listing walks the tree of header files in order.
type listing struct {
	*Store
	ctx    context.Context
	prefix string // escaped
	after  string // escaped
	start  string // the directory in which all names with the prefix are
	yield  func(backend.Entry) bool
}

func (s *Store) newListing(ctx context.Context, prefix, after string) (*listing, error) {
	escapedPrefix, err := backend.EscapePrefix(prefix)
	if err != nil {
		return nil, err
	}
	// The empty after is before all names.
	escapedAfter, err := backend.EscapePrefix(after)
	if err != nil {
		return nil, err
	}
	start := escapedPrefix[:strings.LastIndexByte(escapedPrefix, '/')+1]
	return &listing{Store: s, ctx: ctx, prefix: escapedPrefix, after: escapedAfter, start: start}, nil
}

// walk yields the objects below dir, which is empty or ends with a slash.
//
// Within a directory, a header file "x!" sorts by its name and a directory "y"
// as "y/". That is the order of the escaped names in full: "!" is less than any
// byte that can follow in another component, so "x!" sorts before "x-", "x/" and
// "x0" just as "x" does, and before "x!20" because it ends there.
func (l *listing) walk(dir string) error {
	for last := ""; ; {
		keys, more, err := l.readBatch(dir, last)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if strings.HasSuffix(key, "/") {
				err = l.walk(dir + key)
			} else {
				err = l.leaf(dir + strings.TrimSuffix(key, leafSuffix))
			}
			if err != nil {
				return err
			}
			last = key
		}
		if !more {
			return nil
		}
	}
}

// leaf yields one object.
func (l *listing) leaf(escaped string) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	name, err := backend.Unescape(escaped)
	if err != nil {
		l.foreign(headerPath(escaped))
		return nil
	}
	at, err := l.lookup(escaped)
	if err != nil {
		return err
	}
	if at.missing() {
		return nil // deleted since the directory was read
	}
	entry := backend.Entry{Name: name}
	if at.rec != nil {
		entry.Attrs, entry.Header = at.rec.attrs(), at.rec.header
	}
	if !l.yield(entry) {
		return errStopped
	}
	return nil
}

func (l *listing) foreign(name string) {
	l.log.WarnContext(l.ctx, "disk: listing passes over something that is not part of the store", "path", name)
}

// readBatch returns the first keys after last in dir that the listing wants, in
// order, and whether there are more. A directory that is gone has none.
func (l *listing) readBatch(dir, last string) (keys []string, more bool, err error) {
	name := strings.TrimSuffix(objectsDir+"/"+dir, "/")
	f, err := l.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, describe("open", name, err)
	}
	defer f.Close()
	for {
		if err := l.ctx.Err(); err != nil {
			return nil, false, err
		}
		entries, err := f.ReadDir(1024)
		for _, e := range entries {
			if key := l.key(dir, e); key > last && l.wants(dir+key) {
				keys = append(keys, key)
			}
		}
		if len(keys) >= 2*listBatch {
			keys, more = first(keys), true
		}
		if err == io.EOF || errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, false, describe("read", name, err)
		}
	}
	more = more || len(keys) > listBatch
	return first(keys), more, nil
}

// first sorts keys and returns the smallest of them, a batch at most. A few file
// systems return a name twice while the directory changes.
func first(keys []string) []string {
	slices.SortFunc(keys, cmp.Compare[string])
	keys = slices.Compact(keys)
	return keys[:min(len(keys), listBatch)]
}

// key returns what a directory entry sorts by, or "" for something that is not
// ours. What is wrong with a header file that is a link or a pipe, lookup says.
func (l *listing) key(dir string, e fs.DirEntry) string {
	name := e.Name()
	isLeaf := strings.HasSuffix(name, leafSuffix)
	switch {
	case isLeaf && !e.IsDir():
		return name
	case !isLeaf && e.IsDir():
		if isComponents(dir + name) {
			return name + "/"
		}
	}
	l.foreign(objectsDir + "/" + dir + name)
	return ""
}

// isComponents tells whether dir is the directory of some escaped names. One of
// these is dir with a slash, if the slash is of the name; else it is a break in
// a long component, and the byte that follows may be the first of a character or
// the second, third or fourth of one that the break divides.
func isComponents(dir string) bool {
	for _, next := range []string{"/", "/x", "/!80", "/!80!80", "/!80!80!80", "/!90!80!80", "/!A0!80"} {
		if _, err := backend.Unescape(dir + next); err == nil {
			return true
		}
	}
	return false
}

// wants tells whether an object with this key, or some object that can be below
// this directory, has the prefix and comes after after.
func (l *listing) wants(key string) bool {
	if dir := strings.HasSuffix(key, "/"); dir {
		return (strings.HasPrefix(key, l.prefix) || strings.HasPrefix(l.prefix, key)) &&
			(key > l.after || strings.HasPrefix(l.after, key))
	}
	escaped := strings.TrimSuffix(key, leafSuffix)
	return strings.HasPrefix(escaped, l.prefix) && escaped > l.after
}
