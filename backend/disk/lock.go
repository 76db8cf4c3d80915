package disk

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"time"
)

// stripes is how many locks all names share. Their number and the hash are
// part of the layout: processes of different versions must agree on them.
const stripes = 256

// A stripe is the lock of all names of one hash. Decisions about a name (check
// the condition, rename the header file) are made under it; bodies are written
// and synced without.
type stripe struct {
	// turn excludes the goroutines of this process: it holds one value while
	// the stripe is free. A channel, unlike a mutex, can be waited for together
	// with ctx.
	turn chan struct{}
	// file excludes other processes. It is opened at first use, kept open, and
	// owned by who has the turn.
	file *os.File
}

func newStripes() *[stripes]stripe {
	var all [stripes]stripe
	for i := range all {
		all[i].turn = make(chan struct{}, 1)
		all[i].turn <- struct{}{}
	}
	return &all
}

// lock waits for the exclusive lock on an escaped name, against the goroutines
// of all processes, and returns the function that releases it.
func (s *Store) lock(ctx context.Context, escaped string) (unlock func(), err error) {
	h := fnv.New32a()
	h.Write([]byte(escaped))
	n := h.Sum32() % stripes
	st := &s.stripes[n]
	select {
	case <-st.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := s.lockFile(ctx, st, fmt.Sprintf("%s/%02x", locksDir, n)); err != nil {
		st.turn <- struct{}{}
		return nil, err
	}
	return func() {
		if err := funlock(st.file); err != nil {
			// Closing releases it for certain.
			st.file.Close()
			st.file = nil
		}
		st.turn <- struct{}{}
	}, nil
}

// lockFile takes the lock between processes. It asks again and again rather
// than wait in the kernel, where ctx would not be heard: the holder may be a
// process that was stopped. Locks are held for some microseconds.
func (s *Store) lockFile(ctx context.Context, st *stripe, name string) error {
	if st.file == nil {
		file, err := s.openLock(name)
		if err != nil {
			return err
		}
		st.file = file
	}
	for pause := 20 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		err := flock(st.file, false)
		if !errors.Is(err, errLocked) {
			return describe("flock", name, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// openLock opens a file that is there to be locked, making it if necessary.
func (s *Store) openLock(name string) (file *os.File, err error) {
	err = s.do("open", name, func() error {
		file, err = s.root.OpenFile(name, os.O_RDWR|os.O_CREATE|nonBlock, fileMode)
		if err != nil {
			return err
		}
		return setMode(file)
	})
	if err != nil && file != nil {
		file.Close()
		return nil, err
	}
	return file, err
}

// closeLocks closes the files of all stripes. No call may be in progress.
func (s *Store) closeLocks() {
	for i := range s.stripes {
		if f := s.stripes[i].file; f != nil {
			f.Close()
			s.stripes[i].file = nil
		}
	}
}
