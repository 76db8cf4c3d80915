// Package memory keeps objects in the memory of the process, for tests and
// caches. Nothing is durable: the objects end with the [Store].
//
// It is also the shortest complete implementation of the contract of
// [backend.Blobs], to be read beside it.
package memory

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// A Store is an in-memory [backend.Blobs]. Use [New] to make one.
type Store struct {
	mu      sync.RWMutex
	objects map[string]*object // by escaped name
	names   []string           // the keys of objects, sorted
	changes uint64             // counts content versions, never back
}

// An object is never changed once it is in the map, only replaced by another,
// so that whoever holds a pointer to it has one state of it, whole.
type object struct {
	version backend.Version
	header  []byte
	body    body
}

var (
	_ backend.Blobs         = (*Store)(nil)
	_ backend.HeaderBatcher = (*Store)(nil)
)

// New returns an empty Store.
func New() *Store {
	return &Store{objects: make(map[string]*object)}
}

// Put implements [backend.Blobs].
func (s *Store) Put(ctx context.Context, name string, header []byte, r io.Reader, cond backend.Condition) (backend.Version, error) {
	key, err := checkChange(ctx, name, header, cond)
	if err != nil {
		return "", fmt.Errorf("memory: put %q: %w", name, err)
	}
	b, err := readBody(ctx, r)
	if err != nil {
		return "", fmt.Errorf("memory: put %q: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	version, err := s.replace(key, header, b, cond)
	if err != nil {
		return "", fmt.Errorf("memory: put %q: %w", name, err)
	}
	return version, nil
}

// Get implements [backend.Blobs].
func (s *Store) Get(ctx context.Context, name string, rng backend.Range, version backend.Version) (*backend.Object, error) {
	key, err := checkName(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("memory: get %q: %w", name, err)
	}
	s.mu.RLock()
	o := s.objects[key]
	s.mu.RUnlock()
	if o == nil {
		return nil, fmt.Errorf("memory: get %q: %w", name, atrest.ErrNotFound)
	}
	if version != "" && version != o.version {
		return nil, fmt.Errorf("memory: get %q: %w", name, atrest.ErrConflict)
	}
	return &backend.Object{
		Attrs:  o.attrs(),
		Header: bytes.Clone(o.header),
		Body:   newReader(ctx, o.body, rng),
	}, nil
}

// SetHeader implements [backend.Blobs].
func (s *Store) SetHeader(ctx context.Context, u backend.HeaderUpdate) error {
	key, err := checkChange(ctx, u.Name, u.New, backend.Condition{})
	if err != nil {
		return fmt.Errorf("memory: set header of %q: %w", u.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[key]
	if o == nil || o.version != u.Version || !bytes.Equal(o.header, u.Old) {
		return fmt.Errorf("memory: set header of %q: %w", u.Name, atrest.ErrConflict)
	}
	s.objects[key] = &object{o.version, cloneHeader(u.New), o.body}
	return nil
}

// SetHeaders implements [backend.HeaderBatcher]. There is no round trip to save
// here: it is what a batch means, update by update.
func (s *Store) SetHeaders(ctx context.Context, updates []backend.HeaderUpdate) []error {
	errs := make([]error, len(updates))
	for i, u := range updates {
		errs[i] = s.SetHeader(ctx, u)
	}
	return errs
}

// Copy implements [backend.Blobs].
func (s *Store) Copy(ctx context.Context, dst, src string, srcVersion backend.Version, header []byte, cond backend.Condition) (backend.Version, error) {
	version, err := s.copy(ctx, dst, src, srcVersion, header, cond)
	if err != nil {
		return "", fmt.Errorf("memory: copy %q to %q: %w", src, dst, err)
	}
	return version, nil
}

func (s *Store) copy(ctx context.Context, dst, src string, srcVersion backend.Version, header []byte, cond backend.Condition) (backend.Version, error) {
	srcKey, err := checkName(ctx, src)
	if err != nil {
		return "", err
	}
	dstKey, err := checkChange(ctx, dst, header, cond)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[srcKey]
	if o == nil {
		return "", atrest.ErrNotFound
	}
	if o.version != srcVersion {
		return "", atrest.ErrConflict
	}
	return s.replace(dstKey, header, o.body, cond)
}

// Delete implements [backend.Blobs].
func (s *Store) Delete(ctx context.Context, name string, cond backend.Condition) error {
	key, err := checkChange(ctx, name, nil, cond)
	if err != nil {
		return fmt.Errorf("memory: delete %q: %w", name, err)
	}
	if cond.IfAbsent {
		return fmt.Errorf("memory: delete %q if absent: %w", name, atrest.ErrUnsupported)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[key]
	if o == nil {
		return nil
	}
	if cond.IfVersion != "" && cond.IfVersion != o.version {
		return fmt.Errorf("memory: delete %q: %w", name, atrest.ErrConflict)
	}
	delete(s.objects, key)
	i, _ := slices.BinarySearch(s.names, key)
	s.names = slices.Delete(s.names, i, i+1)
	return nil
}

// List implements [backend.Blobs]. It looks one entry up at a time and holds
// no lock while the consumer has it.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
	return func(yield func(backend.Entry, error) bool) {
		keyPrefix, err := backend.EscapePrefix(prefix)
		if err != nil {
			yield(backend.Entry{}, fmt.Errorf("memory: list from prefix %q: %w", prefix, err))
			return
		}
		key, err := backend.EscapePrefix(after)
		if err != nil {
			yield(backend.Entry{}, fmt.Errorf("memory: list after %q: %w", after, err))
			return
		}
		for {
			if err := ctx.Err(); err != nil {
				yield(backend.Entry{}, fmt.Errorf("memory: list: %w", err))
				return
			}
			var o *object
			if key, o = s.next(keyPrefix, key); o == nil {
				return
			}
			name, err := backend.Unescape(key)
			if err != nil { // not reached: each key was made by Escape
				yield(backend.Entry{}, fmt.Errorf("memory: list: %w", err))
				return
			}
			if !yield(backend.Entry{Attrs: o.attrs(), Name: name, Header: bytes.Clone(o.header)}, nil) {
				return
			}
		}
	}
}

// next returns the first object whose key has the prefix and sorts after the
// key given, or nil.
func (s *Store) next(prefix, after string) (string, *object) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, found := slices.BinarySearch(s.names, max(prefix, after))
	if found && s.names[i] == after {
		i++
	}
	if i == len(s.names) || !strings.HasPrefix(s.names[i], prefix) {
		return "", nil
	}
	return s.names[i], s.objects[s.names[i]]
}

// replace makes a new content version of the object at key if cond allows. The
// caller holds the lock.
func (s *Store) replace(key string, header []byte, b body, cond backend.Condition) (backend.Version, error) {
	old := s.objects[key]
	if cond.IfAbsent && old != nil {
		return "", atrest.ErrExists
	}
	if cond.IfVersion != "" && (old == nil || old.version != cond.IfVersion) {
		return "", atrest.ErrConflict
	}
	s.changes++
	version := backend.Version(strconv.FormatUint(s.changes, 10))
	s.objects[key] = &object{version, cloneHeader(header), b}
	if old == nil {
		i, _ := slices.BinarySearch(s.names, key)
		s.names = slices.Insert(s.names, i, key)
	}
	return version, nil
}

func (o *object) attrs() backend.Attrs {
	return backend.Attrs{Size: o.body.size, Version: o.version}
}

// checkName returns the key under which name is kept.
func checkName(ctx context.Context, name string) (string, error) {
	key, err := backend.Escape(name)
	if err != nil {
		return "", err
	}
	return key, ctx.Err()
}

// checkChange is checkName, and refuses what the contract refuses of any change
// before it is tried.
func checkChange(ctx context.Context, name string, header []byte, cond backend.Condition) (string, error) {
	key, err := checkName(ctx, name)
	if err != nil {
		return "", err
	}
	if len(header) > backend.MaxHeader {
		return "", fmt.Errorf("header of %d bytes: %w", len(header), atrest.ErrTooLarge)
	}
	if cond.IfAbsent && cond.IfVersion != "" {
		return "", fmt.Errorf("two conditions at once: %w", atrest.ErrUnsupported)
	}
	return key, nil
}

// cloneHeader never returns nil, which in a listing means "not included".
func cloneHeader(header []byte) []byte {
	return append(make([]byte, 0, len(header)), header...)
}
