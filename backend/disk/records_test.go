package disk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/backendtest"
)

func TestRecordsConformance(t *testing.T) {
	backendtest.RunRecords(t, backendtest.RecordsConfig{
		Open: func(t *testing.T) backend.Records { return openTestRecords(t, t.TempDir()+"/records") },
		Reopen: func(t *testing.T, r backend.Records) backend.Records {
			return openTestRecords(t, dirOf(r))
		},
		Residue: func(t *testing.T, r backend.Records) []string { return recordsResidue(t, dirOf(r)) },
		Hold:    holdInChild,
		Damages: damages(),
	})
}

func dirOf(r backend.Records) string { return r.(*Records).store.root.Name() }

func openTestRecords(t testing.TB, dir string) *Records {
	t.Helper()
	r, err := NewRecords(t.Context(), RecordsConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// recordsResidue also looks at the modes of all that is there.
func recordsResidue(t testing.TB, dir string) (left []string) {
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		want := os.FileMode(0o600)
		if info.IsDir() {
			want = 0o700
		}
		damaged := !info.IsDir() && !info.Mode().IsRegular() // by the tests of damage
		if info.Name() == recordTemp || info.Mode().Perm() != want && !damaged {
			left = append(left, fmt.Sprint(path, " ", info.Mode()))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return left
}

// damages change the file of a record, of 1,000 bytes.
func damages() []backendtest.Damage {
	edit := func(name string, change func([]byte) []byte) backendtest.Damage {
		return backendtest.Damage{Name: name, Do: func(t *testing.T, r backend.Records, record string) {
			path := filepath.Join(dirOf(r), recordsDir, record)
			file, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, change(file), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}}
	}
	replace := func(name string, with func(path string) error) backendtest.Damage {
		return backendtest.Damage{Name: name, Do: func(t *testing.T, r backend.Records, record string) {
			path := filepath.Join(dirOf(r), recordsDir, record)
			if err := errors.Join(os.Remove(path), with(path)); err != nil {
				t.Fatal(err)
			}
		}}
	}
	return []backendtest.Damage{
		edit("Empty", func([]byte) []byte { return nil }),
		edit("Longer", func(b []byte) []byte { return append(b, 0) }),
		edit("Much longer", func(b []byte) []byte { return append(b, make([]byte, 1<<20)...) }),
		edit("Zeros", func(b []byte) []byte { return make([]byte, len(b)) }),
		edit("No data", func(b []byte) []byte { return b[:bytes.IndexByte(b, '\n')+1] }),
		replace("Another record", func(path string) error {
			file, err := os.ReadFile(path + "2")
			return errors.Join(err, os.WriteFile(path, file, 0o600))
		}),
		replace("Symbolic link", func(path string) error { return os.Symlink("record2", path) }),
		replace("Directory", func(path string) error { return os.Mkdir(path, 0o700) }),
		replace("FIFO", func(path string) error { return syscall.Mkfifo(path, 0o600) }),
	}
}

// TestRecordEachByte flips a bit of each byte of a file, and cuts it everywhere.
func TestRecordEachByte(t *testing.T) {
	file := marshalRecord("name", "REVISION", []byte("some data"))
	if got, err := parseRecord("name", file); err != nil || string(got.Data) != "some data" || got.Revision != "REVISION" {
		t.Fatal(got, err)
	}
	try := func(what string, file []byte) {
		t.Helper()
		if got, err := parseRecord("name", file); !errors.Is(err, atrest.ErrTampered) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	for i := range file {
		for bit := range 8 {
			wrong := bytes.Clone(file)
			wrong[i] ^= 1 << bit
			try(fmt.Sprint("byte ", i, " bit ", bit), wrong)
		}
		try(fmt.Sprint("cut at ", i), file[:i])
	}
	try("longer", append(bytes.Clone(file), 0))
	if _, err := parseRecord("nam", file); !errors.Is(err, atrest.ErrTampered) {
		t.Errorf("under another name: %v", err)
	}
}

func FuzzRecordFile(f *testing.F) {
	f.Add(marshalRecord("name", "R", []byte("data")))
	f.Add(marshalRecord("name", "R", []byte("\n\n")))
	f.Add([]byte(recordsMagic + " R 1 00\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		record, err := parseRecord("name", file)
		if err == nil && !bytes.Equal(marshalRecord("name", record.Revision, record.Data), file) {
			t.Errorf("%q was taken for a record", file)
		}
	})
}

// TestRecordsDir opens directories that are not fit to hold records.
func TestRecordsDir(t *testing.T) {
	refused := func(what string, prepare func(dir string) error, want string) {
		t.Helper()
		dir := t.TempDir() + "/records"
		if err := prepare(dir); err != nil {
			t.Fatal(err)
		}
		r, err := NewRecords(t.Context(), RecordsConfig{Dir: dir})
		if err == nil {
			r.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	made := func(mode os.FileMode) func(string) error {
		return func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, mode)) }
	}
	for _, mode := range []os.FileMode{0o710, 0o701, 0o740, 0o777, 0o770} {
		refused(mode.String(), made(mode), "chmod go-rwx")
	}
	refused("a store", func(dir string) error {
		s, err := New(t.Context(), Config{Dir: dir})
		if err != nil {
			return err
		}
		return s.Close()
	}, "something else")
	refused("a file in it", func(dir string) error {
		return errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(dir+"/x", nil, 0o600))
	}, "something else")
	refused("no parent", func(dir string) error { return os.Remove(filepath.Dir(dir)) }, "no such file")
	refused("a link in place of a directory", func(dir string) error {
		return errors.Join(os.Mkdir(dir, 0o700), os.Symlink("/tmp", dir+"/"+recordsDir))
	}, "not a directory")
	refused("records that others can read", func(dir string) error {
		return errors.Join(os.Mkdir(dir, 0o700), os.Mkdir(dir+"/"+recordsDir, 0o700), os.Chmod(dir+"/"+recordsDir, 0o750))
	}, "chmod go-rwx")
	if os.Geteuid() == 0 {
		refused("another user's", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 65534, 65534))
		}, "user 65534")
	}
	if _, err := NewRecords(t.Context(), RecordsConfig{}); err == nil {
		t.Error("no directory at all was taken")
	}
	r := openTestRecords(t, t.TempDir()+"/records")
	if _, err := r.PutRecord(t.Context(), "name", []byte("data"), ""); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dirOf(r)+"/"+recordsDir+"/name", 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := r.GetRecord(t.Context(), "name"); !errors.Is(err, atrest.ErrUnsafePermissions) || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("a file that others can read: %v", err)
	}
}

// recordChanges are a creation, a replacement and a deletion, with the data before and after.
var recordChanges = []struct {
	name, from, to string
}{{"create", "", "new"}, {"replace", "old", "new"}, {"delete", "old", ""}}

// changeRecord makes the record "name" have these data, or none.
func changeRecord(ctx context.Context, r *Records, to string) error {
	current, err := r.GetRecord(ctx, "name")
	if err != nil && !errors.Is(err, atrest.ErrNotFound) {
		return err
	}
	switch {
	case to == "" && err != nil:
		return nil
	case to == "":
		return r.DeleteRecord(ctx, "name", current.Revision)
	}
	_, err = r.PutRecord(ctx, "name", []byte(to), current.Revision)
	return err
}

// wantOneOf opens the records again and fails the test unless the data are one of these; and
// unless a change then works, and leaves nothing behind.
func wantOneOf(t *testing.T, dir, step string, allowed ...string) {
	t.Helper()
	r := openTestRecords(t, dir)
	got, err := r.GetRecord(t.Context(), "name")
	if err != nil && !errors.Is(err, atrest.ErrNotFound) {
		t.Fatalf("%s: %v", step, err)
	}
	ok := false
	for _, data := range allowed {
		ok = ok || string(got.Data) == data
	}
	if !ok {
		t.Errorf("%s: the data are %q, want one of %q", step, got.Data, allowed)
	}
	if err := changeRecord(t.Context(), r, "another"); err != nil {
		t.Errorf("%s: the next change: %v", step, err)
	}
	if left := recordsResidue(t, dir); len(left) > 0 {
		t.Errorf("%s: left behind: %q", step, left)
	}
}

// TestRecordsFailAtEachStep lets each step of each change fail in turn, not done and done.
func TestRecordsFailAtEachStep(t *testing.T) {
	injected := fmt.Errorf("injected: %w", syscall.EIO)
	for _, change := range recordChanges {
		for done := range 2 {
			for n := 1; ; n++ {
				dir := t.TempDir() + "/records"
				f := &fault{n: n, act: func(step func() error) error {
					if done == 1 {
						_ = step() // it fails all the same
					}
					return injected
				}}
				r, err := NewRecords(t.Context(), RecordsConfig{Dir: dir, hook: f.hook})
				if err != nil {
					t.Fatal(err)
				}
				if change.from != "" {
					if err := changeRecord(t.Context(), r, change.from); err != nil {
						t.Fatal(err)
					}
				}
				f.armed = true
				err = changeRecord(t.Context(), r, change.to)
				r.Close()
				if err != nil && !errors.Is(err, injected) {
					t.Errorf("%s, step %d: %v", change.name, n, err)
				}
				allowed := []string{change.to}
				if err != nil {
					allowed = append(allowed, change.from)
				}
				wantOneOf(t, dir, fmt.Sprint(change.name, ", step ", n, " failed, done ", done), allowed...)
				if !f.fired() {
					if n < 4 {
						t.Errorf("%s: only %d steps were seen", change.name, n)
					}
					break
				}
			}
		}
	}
}

// TestRecordsSteps pins the order of system calls, on which rests what the death of the
// machine leaves.
func TestRecordsSteps(t *testing.T) {
	var steps []string
	r, err := NewRecords(t.Context(), RecordsConfig{Dir: t.TempDir() + "/records", hook: func(op, name string, step func() error) error {
		steps = append(steps, op+" "+name)
		return step()
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, want := range []struct{ to, steps string }{
		{"data", "open records/name, open lock, open records/name, remove record.new, create record.new, write record.new, fsync record.new, rename records/name, fsync records"},
		{"", "open records/name, open lock, open records/name, remove records/name, fsync records"},
	} {
		steps = nil
		if err := changeRecord(t.Context(), r, want.to); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(steps, ", "); got != want.steps {
			t.Errorf("the steps are\n%s, want\n%s", got, want.steps)
		}
	}
}

func init() {
	tasks["changeRecord"] = changeRecordTask
	tasks["countRecord"] = countRecordTask
	tasks["holdRecords"] = holdRecordsTask
}

func changeRecordTask(ctx context.Context, o order) error {
	f := &fault{n: o.KillAt, act: dieHere}
	r, err := NewRecords(ctx, RecordsConfig{Dir: o.Dir, hook: f.hook})
	if err != nil {
		return err
	}
	f.armed = true
	return changeRecord(ctx, r, o.Arg)
}

// TestRecordsKillAtEachStep kills a process before each step of each change in turn.
func TestRecordsKillAtEachStep(t *testing.T) {
	for _, change := range recordChanges {
		t.Run(change.name, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				dir := t.TempDir() + "/records"
				if err := changeRecord(t.Context(), openTestRecords(t, dir), change.from); err != nil {
					t.Fatal(err)
				}
				out, err := child(t, order{Dir: dir, Task: "changeRecord", KillAt: n, Arg: change.to}).CombinedOutput()
				if !killed(t, out, err) {
					wantOneOf(t, dir, "not killed", change.to)
					if n < 4 {
						t.Errorf("only %d steps were seen", n)
					}
					return
				}
				wantOneOf(t, dir, fmt.Sprint("killed before step ", n), change.from, change.to)
			}
		})
	}
}

func countRecordTask(ctx context.Context, o order) error {
	r, err := NewRecords(ctx, RecordsConfig{Dir: o.Dir})
	if err != nil {
		return err
	}
	defer r.Close()
	for won := 0; won < o.KillAt; {
		n := 0
		current, err := r.GetRecord(ctx, "counter")
		if err == nil {
			n, err = strconv.Atoi(string(current.Data))
		}
		if err != nil && !errors.Is(err, atrest.ErrNotFound) {
			return err
		}
		_, err = r.PutRecord(ctx, "counter", []byte(strconv.Itoa(n+1)), current.Revision)
		if err == nil {
			won++
		} else if !errors.Is(err, atrest.ErrConflict) && !errors.Is(err, atrest.ErrExists) {
			return err
		}
	}
	return nil
}

// TestRecordsProcessesCount has four processes, started on no directory at all, count together.
func TestRecordsProcessesCount(t *testing.T) {
	const processes, each = 4, 15
	dir := t.TempDir() + "/records"
	var wg sync.WaitGroup
	for range processes {
		cmd := child(t, order{Dir: dir, Task: "countRecord", KillAt: each})
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	got, err := openTestRecords(t, dir).GetRecord(t.Context(), "counter")
	if err != nil || string(got.Data) != strconv.Itoa(processes*each) {
		t.Errorf("the counter is %q, %v", got.Data, err)
	}
}

func holdRecordsTask(ctx context.Context, o order) error {
	r, err := NewRecords(ctx, RecordsConfig{Dir: o.Dir})
	if err != nil {
		return err
	}
	held, _, err := r.LockRecords(ctx, o.Arg)
	if err != nil {
		return err
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin) // until killed, or the test is gone
	runtime.KeepAlive(held)
	runtime.KeepAlive(r)
	return nil
}

func holdInChild(t *testing.T, r backend.Records, name string) (kill func()) {
	cmd := child(t, order{Dir: dirOf(r), Task: "holdRecords", Arg: name})
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		in.Close()
	})
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("the child says %q (%v)", line, err)
	}
	return kill
}
