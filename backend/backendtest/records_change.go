package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// testPut stores records of many sizes and looks at them through another handle.
func (s recordsSuite) testPut(t *testing.T) {
	t.Run("Sizes", func(t *testing.T) {
		t.Parallel()
		r := s.open(t)
		var revision backend.Revision
		for i, size := range []int{1, 2, 3, 255, 256, 4095, 4096, 4097, 65535, backend.MaxRecord, 1} {
			revision = r.put("record", dataOf(i, size), revision)
			s.want(r, "record", dataOf(i, size), revision)
		}
		// Bytes that text formats trip over.
		for _, data := range []string{"\x00", "\n", "\\x00", "a\nb\r\n\x00", strings.Repeat("\xff", 100), " ", "'"} {
			revision = r.put("record", []byte(data), revision)
			s.want(r, "record", []byte(data), revision)
		}
	})
	t.Run("BadSizes", func(t *testing.T) {
		t.Parallel()
		r := s.open(t)
		data := dataOf(0, 100)
		revision := r.put("record", data, "")
		for _, old := range []backend.Revision{"", revision} {
			for _, name := range []string{"record", "other"} {
				_, err := r.PutRecord(r.ctx, name, dataOf(1, backend.MaxRecord+1), old)
				wantError(t, "PutRecord of 65,537 bytes", err, atrest.ErrTooLarge)
				_, err = r.PutRecord(r.ctx, name, nil, old)
				wantError(t, "PutRecord of no bytes", err, atrest.ErrUnsupported)
			}
		}
		s.want(r, "record", data, revision)
		r.wantNames("", "record")
	})
	t.Run("OwnData", func(t *testing.T) {
		t.Parallel()
		r := s.open(t)
		data := dataOf(0, 100)
		revision := r.put("record", data, "")
		clear(data) // the caller's again
		got, err := r.GetRecord(r.ctx, "record")
		if err != nil {
			t.Fatal(err)
		}
		clear(got.Data)
		s.want(r, "record", dataOf(0, 100), revision)
	})
}

// testNames has names at the limits, which must not meet, and bad ones.
func (s recordsSuite) testNames(t *testing.T) {
	long := strings.Repeat("x", backend.MaxRecordName)
	t.Run("Good", func(t *testing.T) {
		t.Parallel()
		r := s.open(t)
		revisions := map[string]backend.Revision{}
		names := []string{"a", "0", "a.", "a..", "a-", "a_", "a.b", "a-b", "a_b", "ab", "seal", "init-0", "lock", "new", "nul", "a.tmp", "a.lock", long, long[1:]}
		for _, name := range names {
			revisions[name] = r.put(name, []byte(name), "")
		}
		for _, name := range names {
			s.want(r, name, []byte(name), revisions[name])
		}
	})
	t.Run("Bad", func(t *testing.T) {
		t.Parallel()
		r := s.open(t)
		for _, name := range []string{"", ".", "..", ".a", "-a", "_a", "A", "aB", "a/b", "../a", "a b", "a\n", "a\x00", "é", "a%", "a'", long + "x"} {
			_, getErr := r.GetRecord(r.ctx, name)
			_, putErr := r.PutRecord(r.ctx, name, []byte("data"), "")
			_, _, lockErr := r.LockRecords(r.ctx, name)
			errs := map[string]error{"GetRecord": getErr, "PutRecord": putErr, "DeleteRecord": r.DeleteRecord(r.ctx, name, "revision"), "LockRecords": lockErr}
			if name != "" {
				_, errs["ListRecords"] = r.names(r.ctx, name)
			}
			for method, err := range errs {
				wantError(t, fmt.Sprintf("%s(%q)", method, name), err, atrest.ErrInvalidName)
			}
		}
		r.wantNames("")
	})
}

// testCompare has every combination of what is there and what the caller takes to be.
func (s recordsSuite) testCompare(t *testing.T) {
	r := s.open(t)
	data, other := dataOf(1, 100), dataOf(2, 200)
	gone := r.put("gone", data, "")
	if err := r.DeleteRecord(r.ctx, "gone", gone); err != nil {
		t.Fatal(err)
	}
	first := r.put("record", data, "")
	second := r.put("record", data, first) // equal bytes, and yet another revision
	foreign := r.put("foreign", data, "")
	refuse := func(name string, old backend.Revision, want error) {
		t.Helper()
		_, err := r.PutRecord(r.ctx, name, other, old)
		wantError(t, fmt.Sprintf("PutRecord(%q) over %q", name, old), err, want)
	}
	refuse("record", "", atrest.ErrExists)
	for _, old := range []backend.Revision{first, foreign, gone, "0", second + "0", "0" + second, "\x00", "'", backend.Revision(strings.Repeat("x", 1000))} {
		refuse("record", old, atrest.ErrConflict)
		refuse("missing", old, atrest.ErrConflict)
		wantError(t, "DeleteRecord of another revision", r.DeleteRecord(r.ctx, "record", old), atrest.ErrConflict)
	}
	refuse("gone", gone, atrest.ErrConflict)
	s.want(r, "record", data, second)
	s.want(r, "foreign", data, foreign)
	s.wantMissing(r, "missing")
	s.wantMissing(r, "gone")
	s.want(r, "record", other, r.put("record", other, second))
}

// testRevisions checks that none comes twice, whatever happens to the record.
func (s recordsSuite) testRevisions(t *testing.T) {
	r := s.open(t)
	handles := s.handles(r, 4)
	seen := map[backend.Revision]bool{}
	var revision backend.Revision
	for i := range s.times(100) {
		if i%3 == 2 {
			if err := handles[i%4].DeleteRecord(r.ctx, "record", revision); err != nil {
				t.Fatal(err)
			}
			revision = ""
		}
		next, err := handles[i%4].PutRecord(r.ctx, "record", []byte("the same"), revision)
		if err != nil {
			t.Fatal(err)
		}
		if seen[next] {
			t.Fatalf("the revision %q came a second time", next)
		}
		seen[next], revision = true, next
	}
}

func (s recordsSuite) testDelete(t *testing.T) {
	r := s.open(t)
	data := dataOf(1, 100)
	revision, beside := r.put("record", data, ""), r.put("record2", data, "")
	wantError(t, "DeleteRecord without a revision", r.DeleteRecord(r.ctx, "record", ""), atrest.ErrUnsupported)
	wantError(t, "DeleteRecord without a revision", r.DeleteRecord(r.ctx, "missing", ""), atrest.ErrUnsupported)
	wantError(t, "DeleteRecord of another revision", r.DeleteRecord(r.ctx, "record", beside), atrest.ErrConflict)
	s.want(r, "record", data, revision)
	for range 2 { // again, as after an answer that was lost
		if err := r.DeleteRecord(r.ctx, "record", revision); err != nil {
			t.Fatal(err)
		}
		s.wantMissing(r, "record")
	}
	r.wantNames("", "record2")
	again := r.put("record", data, "")
	wantError(t, "DeleteRecord of what was replaced", r.DeleteRecord(r.ctx, "record", revision), atrest.ErrConflict)
	s.want(r, "record", data, again)
	s.want(r, "record2", data, beside)
}

// testList looks at the order, and lists many.
func (s recordsSuite) testList(t *testing.T) {
	t.Run("Order", func(t *testing.T) {
		t.Parallel()
		r := s.open(t)
		r.wantNames("")
		for _, name := range []string{"b", "a_b", "a", "a-b", "ab", "a.b", "a0", "init-b", "init-a", "init"} {
			r.put(name, []byte("data"), "")
		}
		r.wantNames("", "a", "a-b", "a.b", "a0", "a_b", "ab", "b", "init", "init-a", "init-b") // bytewise
		r.wantNames("a", "a", "a-b", "a.b", "a0", "a_b", "ab")
		r.wantNames("init-", "init-a", "init-b")
		r.wantNames("init-a", "init-a")
		r.wantNames("init-c")
		r.wantNames("z")
	})
	t.Run("Large", func(t *testing.T) {
		t.Parallel()
		r := s.open(t)
		var want []string
		const n = 1100 // more than a page of any engine
		for i := range n {
			want = append(want, fmt.Sprintf("r%05d", i))
		}
		for _, err := range all(10, func(i int) error {
			for j := i; j < n; j += 10 {
				if _, err := r.PutRecord(r.ctx, want[j], []byte{0}, ""); err != nil {
					return err
				}
			}
			return nil
		}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		r.wantNames("r", want...)
		count := 0
		for name, err := range r.ListRecords(r.ctx, "") {
			if err != nil {
				t.Fatal(err)
			}
			record, err := r.GetRecord(r.ctx, name) // in the midst of the listing
			if err != nil {
				t.Fatal(err)
			}
			if err := r.DeleteRecord(r.ctx, name, record.Revision); err != nil {
				t.Fatal(err)
			}
			if count++; count == 20 {
				break
			}
		}
		r.wantNames("", want[20:]...)
	})
}

// testCancel calls everything with a context that has ended.
func (s recordsSuite) testCancel(t *testing.T) {
	r := s.open(t)
	data := dataOf(1, 100)
	revision := r.put("record", data, "")
	ctx, cancel := context.WithCancel(r.ctx)
	cancel()
	_, getErr := r.GetRecord(ctx, "record")
	_, putErr := r.PutRecord(ctx, "record", dataOf(2, 100), revision)
	_, newErr := r.PutRecord(ctx, "new", dataOf(2, 100), "")
	_, listErr := r.names(ctx, "")
	held, unlock, lockErr := r.LockRecords(ctx, "record")
	if held != nil || unlock != nil {
		t.Error("LockRecords failed, and returned more than the error")
	}
	for method, err := range map[string]error{
		"GetRecord": getErr, "PutRecord": putErr, "a new PutRecord": newErr, "ListRecords": listErr, "LockRecords": lockErr,
		"DeleteRecord": r.DeleteRecord(ctx, "record", revision),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a context that has ended: %v", method, err)
		}
	}
	s.want(r, "record", data, revision)
	r.wantNames("", "record")
	ctx, cancel = context.WithCancel(r.ctx)
	defer cancel()
	r.put("second", data, "")
	yielded := 0
	for _, err := range r.ListRecords(ctx, "") {
		cancel()
		if yielded++; yielded == 2 && !errors.Is(err, context.Canceled) {
			t.Errorf("ListRecords went on after its context had ended: %v", err)
		}
	}
	if yielded != 2 {
		t.Errorf("ListRecords yielded %d times", yielded)
	}
}

// testRaces has one winner, and no increment lost.
func (s recordsSuite) testRaces(t *testing.T) {
	race := func(t *testing.T, refusal error, change func(r records, old backend.Revision, h backend.Records, i int) error, prepare func(records) backend.Revision) {
		t.Parallel()
		r := s.open(t)
		handles := s.handles(r, contenders)
		for range s.times(20) {
			old := prepare(r)
			oneWinner(t, "race", all(contenders, func(i int) error { return change(r, old, handles[i], i) }), refusal)
		}
	}
	put := func(r records, old backend.Revision, h backend.Records, i int) error {
		data := dataOf(i, 50+i)
		revision, err := h.PutRecord(r.ctx, "record", data, old)
		if err != nil {
			return err
		}
		got, err := h.GetRecord(r.ctx, "record")
		if err == nil && (got.Revision != revision || !bytes.Equal(got.Data, data)) {
			err = fmt.Errorf("the winner found revision %q, not its own", got.Revision)
		}
		return err
	}
	remove := func(r records) backend.Revision {
		got, err := r.GetRecord(r.ctx, "record")
		if err == nil {
			err = r.DeleteRecord(r.ctx, "record", got.Revision)
		}
		if err != nil && !errors.Is(err, atrest.ErrNotFound) {
			r.t.Fatal(err)
		}
		return ""
	}
	fresh := func(r records) backend.Revision { return r.put("record", dataOf(0, 10), remove(r)) }
	t.Run("Create", func(t *testing.T) { race(t, atrest.ErrExists, put, remove) })
	t.Run("Replace", func(t *testing.T) { race(t, atrest.ErrConflict, put, fresh) })
	t.Run("DeleteAgainstPut", func(t *testing.T) {
		t.Parallel()
		r := s.open(t)
		handles := s.handles(r, 2)
		for range s.times(50) {
			old := fresh(r)
			errs := all(2, func(i int) error {
				if i == 0 {
					return handles[0].DeleteRecord(r.ctx, "record", old)
				}
				_, err := handles[1].PutRecord(r.ctx, "record", dataOf(1, 10), old)
				return err
			})
			if oneWinner(t, "DeleteRecord against PutRecord", errs, atrest.ErrConflict) == 0 {
				s.wantMissing(r, "record")
			}
		}
	})
	t.Run("Counter", s.testRecordCounter)
}

// testRecordCounter counts in a record, while others read it.
func (s recordsSuite) testRecordCounter(t *testing.T) {
	t.Parallel()
	r := s.open(t)
	handles := s.handles(r, contenders)
	each := s.times(10)
	r.put("counter", []byte("0"), "")
	for _, err := range all(contenders, func(i int) error {
		for n := 0; n < each; {
			err := incrementRecord(r.ctx, handles[i])
			if err != nil && !errors.Is(err, atrest.ErrConflict) {
				return err
			}
			if err == nil {
				n++
			}
		}
		return nil
	}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := r.GetRecord(r.ctx, "counter")
	if err != nil {
		t.Fatal(err)
	}
	if want := strconv.Itoa(contenders * each); string(got.Data) != want {
		t.Errorf("%s increments count %s", want, got.Data)
	}
}

// incrementRecord returns ErrConflict if somebody came in between.
func incrementRecord(ctx context.Context, h backend.Records) error {
	got, err := h.GetRecord(ctx, "counter")
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(string(got.Data))
	if err != nil {
		return err
	}
	_, err = h.PutRecord(ctx, "counter", []byte(strconv.Itoa(n+1)), got.Revision)
	return err
}

// testDamage checks that what was changed behind the engine's back is an error, and
// never an empty or missing record.
func (s recordsSuite) testDamage(t *testing.T) {
	for _, damage := range s.Damages {
		t.Run(damage.Name, func(t *testing.T) {
			t.Parallel()
			r := s.open(t)
			data := dataOf(1, 1000)
			revision, beside := r.put("record", data, ""), r.put("record2", data, "")
			damage.Do(t, r.Records, "record")
			for _, h := range s.handles(r, 2) {
				_, err := h.GetRecord(r.ctx, "record")
				wantError(t, "GetRecord of a damaged record", err, atrest.ErrTampered)
				_, err = h.PutRecord(r.ctx, "record", data, "")
				wantError(t, "PutRecord of a new record over a damaged one", err, atrest.ErrExists)
			}
			r.wantNames("", "record", "record2")
			s.want(r, "record2", data, beside)
			// Whoever can tell the revision may replace it, and then it is sound.
			next, err := r.PutRecord(r.ctx, "record", data, revision)
			if err == nil {
				s.want(r, "record", data, next)
				return
			}
			wantError(t, "PutRecord over a damaged record", err, atrest.ErrTampered, atrest.ErrConflict)
			if err := r.DeleteRecord(r.ctx, "record", revision); err != nil {
				wantError(t, "DeleteRecord of a damaged record", err, atrest.ErrTampered, atrest.ErrConflict)
			}
		})
	}
}
