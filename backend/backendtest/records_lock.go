package backendtest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atrest/atrest/backend"
)

// settleTime is how long the suite waits to see that something does not happen.
const settleTime = 100 * time.Millisecond

func (s recordsSuite) testLock(t *testing.T) {
	t.Run("Exclusive", s.testLockExclusive)
	t.Run("Names", s.testLockNames)
	t.Run("Unlock", s.testUnlock)
	t.Run("Wait", s.testLockWait)
	t.Run("Context", s.testLockContext)
	t.Run("Records", s.testLockAndRecords)
	if s.Hold != nil {
		t.Run("Process", s.testLockProcess)
	}
	if s.LoseLock != nil {
		t.Run("Lost", s.testLockLost)
	}
}

// lock takes a lock, which must be free.
func (s recordsSuite) lock(r records, name string) (context.Context, func()) {
	r.t.Helper()
	var held context.Context
	var unlock func()
	var err error
	s.within(r.t, "LockRecords of a lock that is free", func() { held, unlock, err = r.LockRecords(r.ctx, name) })
	if err != nil {
		r.t.Fatalf("LockRecords(%q): %v", name, err)
	}
	r.t.Cleanup(unlock) // again, in case that the test has ended before
	if held.Err() != nil {
		r.t.Fatalf("the context of a lock has ended at once: %v", context.Cause(held))
	}
	return held, unlock
}

// wantTaken fails the test if the lock can be had.
func (s recordsSuite) wantTaken(r records, name string) {
	r.t.Helper()
	for _, h := range s.handles(r, 2) {
		ctx, cancel := context.WithTimeout(r.ctx, settleTime)
		defer cancel()
		_, unlock, err := h.LockRecords(ctx, name)
		if err == nil {
			unlock()
			r.t.Fatalf("the lock %q was had twice", name)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			r.t.Fatalf("LockRecords(%q) of a lock that is taken: %v", name, err)
		}
	}
}

// testLockExclusive has many who take turns and never meet.
func (s recordsSuite) testLockExclusive(t *testing.T) {
	t.Parallel()
	r := s.open(t)
	handles := s.handles(r, contenders)
	var inside, met, turns atomic.Int32
	for _, err := range all(contenders, func(i int) error {
		for range s.times(10) {
			held, unlock, err := handles[i].LockRecords(r.ctx, "lock")
			if err != nil {
				return err
			}
			if inside.Add(1) != 1 {
				met.Add(1)
			}
			time.Sleep(time.Millisecond)
			inside.Add(-1)
			turns.Add(1)
			if held.Err() != nil {
				err = context.Cause(held)
			}
			unlock()
			if err != nil {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := met.Load(); n > 0 {
		t.Errorf("%d times somebody else had the lock too", n)
	}
	if want := int32(contenders * s.times(10)); turns.Load() != want {
		t.Errorf("%d turns, not %d", turns.Load(), want)
	}
}

// testLockNames has two locks that have nothing to do with each other.
func (s recordsSuite) testLockNames(t *testing.T) {
	t.Parallel()
	r := s.open(t)
	_, unlock := s.lock(r, "a")
	_, other := s.lock(r, "a.b")
	s.wantTaken(r, "a")
	other()
	s.wantTaken(r, "a")
	unlock()
	s.lock(r, "a")
}

// testUnlock unlocks more than once, also after somebody else took the lock.
func (s recordsSuite) testUnlock(t *testing.T) {
	t.Parallel()
	r := s.open(t)
	held, unlock := s.lock(r, "lock")
	s.wantTaken(r, "lock")
	for _, err := range all(4, func(int) error { unlock(); return nil }) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if held.Err() == nil {
		t.Error("the context of a lock goes on after it was released")
	}
	second, _ := s.lock(r, "lock")
	unlock()
	if second.Err() != nil {
		t.Error("the first unlock has ended the second lock's context")
	}
	s.wantTaken(r, "lock")
}

// testLockWait has one who waits get the lock at once when it is free, and one who gives
// up get nothing.
func (s recordsSuite) testLockWait(t *testing.T) {
	t.Parallel()
	r := s.open(t)
	other := s.handles(r, 2)[1]
	_, unlock := s.lock(r, "lock")
	impatient, cancel := context.WithCancel(r.ctx)
	gaveUp := make(chan error, 1)
	go func() {
		_, _, err := other.LockRecords(impatient, "lock")
		gaveUp <- err
	}()
	time.Sleep(settleTime)
	cancel()
	var err error // not judged within, where the test may be over
	s.within(t, "LockRecords after its context has ended", func() { err = <-gaveUp })
	if !isEnd(err) {
		t.Errorf("LockRecords after its context has ended: %v", err)
	}
	got := make(chan error, 1)
	go func() {
		_, unlock, err := other.LockRecords(r.ctx, "lock")
		if err == nil {
			defer unlock()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("a lock that is taken was had: %v", err)
	case <-time.After(settleTime):
	}
	unlock()
	s.within(t, "LockRecords after the lock was released", func() { err = <-got })
	if err != nil {
		t.Error(err)
	}
	s.lock(r, "lock")
}

// testLockContext ends the context with which the lock was taken: it stays taken.
func (s recordsSuite) testLockContext(t *testing.T) {
	t.Parallel()
	r := s.open(t)
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(r.ctx, key{}, "value"))
	defer cancel()
	held, unlock, err := r.LockRecords(ctx, "lock")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if held.Value(key{}) != "value" {
		t.Error("the context of a lock is no child of the caller's")
	}
	cancel()
	if held.Err() == nil {
		t.Error("the context of a lock goes on after its parent")
	}
	s.wantTaken(r, "lock")
	unlock()
	s.lock(r, "lock")
}

// testLockAndRecords changes records under the lock, and beside it.
func (s recordsSuite) testLockAndRecords(t *testing.T) {
	t.Parallel()
	r := s.open(t)
	held, unlock := s.lock(r, "record")
	r.wantNames("") // a lock is no record
	other := s.handles(r, 2)[1]
	var err error
	s.within(t, "changes of a record under a lock", func() {
		var revision backend.Revision
		if revision, err = r.PutRecord(held, "record", []byte("1"), ""); err == nil {
			_, err = other.PutRecord(r.ctx, "record", []byte("2"), revision)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	s.wantTaken(r, "record")
	unlock()
	r.wantNames("", "record")
}

// testLockProcess has another process hold the lock, and kills it.
func (s recordsSuite) testLockProcess(t *testing.T) {
	t.Parallel()
	r := s.open(t)
	kill := s.Hold(t, r.Records, "lock")
	s.wantTaken(r, "lock")
	s.lock(r, "other")
	kill()
	s.lock(r, "lock")
}

// testLockLost has the engine lose the lock.
func (s recordsSuite) testLockLost(t *testing.T) {
	r := s.open(t) // not parallel: the engine's locks are looked at
	held, unlock := s.lock(r, "lock")
	time.Sleep(settleTime)
	if held.Err() != nil {
		t.Fatalf("the lock was lost by itself: %v", context.Cause(held))
	}
	s.LoseLock(t, r.Records, "lock")
	s.within(t, "the end of the context of a lock that was lost", func() { <-held.Done() })
	if cause := context.Cause(held); cause == nil || cause == context.Canceled {
		t.Errorf("the cause of a lock's loss is %v", cause)
	}
	// Somebody else may have it now, before the loser has said a word.
	second, _ := s.lock(r, "lock")
	unlock()
	s.wantTaken(r, "lock")
	if second.Err() != nil {
		t.Errorf("the new lock was lost as well: %v", context.Cause(second))
	}
}
