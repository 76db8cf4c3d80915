package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/storage"
)

func TestList(t *testing.T) {
	onEach(t, func(t *testing.T, blobs backend.Blobs) {
		s := newStore(t, storage.Config{Backend: blobs})
		want := []string{"a", "a/b", "a/c", "b", "c d", "é"}
		for i, name := range want {
			mustPut(t, s, name, noise(i*50_000))
		}
		entries := collect(t, s.List(t.Context(), nil))
		var names []string
		for _, e := range entries {
			names = append(names, e.Name)
			info, err := s.Stat(t.Context(), e.Name)
			if err != nil {
				t.Fatal(err)
			}
			if e.Size != info.Size || e.Version != info.Version || !e.Modified.Equal(info.Modified) || e.KeyVersion != 1 {
				t.Errorf("entry %+v, info %+v", e, info)
			}
		}
		slices.Sort(names)
		if !slices.Equal(names, want) {
			t.Fatalf("listed %q", names)
		}
		if got := collect(t, s.List(t.Context(), &storage.ListOptions{Prefix: "a/", After: "a/b"})); len(got) != 1 || got[0].Name != "a/c" {
			t.Fatalf("%+v", got)
		}
		for e, err := range s.List(t.Context(), nil) {
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Delete(t.Context(), e.Name, nil); err != nil {
				t.Fatal(err)
			}
		}
		if left := collect(t, s.List(t.Context(), nil)); len(left) > 0 {
			t.Fatalf("left %+v", left)
		}
	})
}

// TestListGoesOnPastDamage, and so does Verify.
func TestListGoesOnPastDamage(t *testing.T) {
	blobs := memory.New()
	s := newStore(t, storage.Config{Backend: blobs})
	for _, name := range []string{"a", "b", "c"} {
		mustPut(t, s, name, noise(100))
	}
	rawPut(t, blobs, "b", []byte("no header"), nil)
	var good, bad []string
	for e, err := range s.List(t.Context(), nil) {
		if err != nil {
			wantError(t, err, atrest.ErrTampered)
			bad = append(bad, e.Name)
		} else {
			good = append(good, e.Name)
		}
	}
	if !slices.Equal(good, []string{"a", "c"}) || !slices.Equal(bad, []string{"b"}) {
		t.Fatalf("good %q, bad %q", good, bad)
	}
}

func TestVerify(t *testing.T) {
	onEach(t, func(t *testing.T, blobs backend.Blobs) {
		s := newStore(t, storage.Config{Backend: blobs, SegmentSize: 4096})
		for i := range 60 {
			mustPut(t, s, fmt.Sprintf("%02d", i), noise(i*1000))
		}
		var want []string
		for i := 5; i < 60; i += 10 {
			name := fmt.Sprintf("%02d", i)
			header, body := rawGet(t, blobs, name)
			body[len(body)-1] ^= 1 // in the last segment
			rawPut(t, blobs, name, header, body)
			want = append(want, name)
		}
		var good int
		var bad []string
		last := ""
		for info, err := range s.Verify(t.Context(), nil) {
			if info.Name <= last {
				t.Errorf("%q after %q", info.Name, last)
			}
			last = info.Name
			if err != nil {
				wantError(t, err, atrest.ErrTampered)
				bad = append(bad, info.Name)
			} else {
				good++
			}
		}
		if good != 54 || !slices.Equal(bad, want) {
			t.Fatalf("%d good, bad %q", good, bad)
		}
		for info, err := range s.Verify(t.Context(), &storage.VerifyOptions{Prefix: "0", After: "05", Concurrency: 1}) {
			if err != nil || info.Name < "06" {
				t.Fatal(info, err)
			}
			break
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for info, err := range s.Verify(ctx, nil) {
			if info.Name != "" || !errors.Is(err, context.Canceled) {
				t.Fatal(info, err)
			}
		}
	})
}

func TestCopyAndRename(t *testing.T) {
	onEach(t, func(t *testing.T, blobs backend.Blobs) {
		s := newStore(t, storage.Config{Backend: blobs})
		content := noise(200_000)
		src, err := s.PutBytes(t.Context(), "src", content, &storage.PutOptions{Metadata: storage.Metadata{"k": "v"}})
		if err != nil {
			t.Fatal(err)
		}
		_, srcBody := rawGet(t, blobs, "src")
		info, err := s.Copy(t.Context(), "dst", "src", nil)
		if err != nil || info.Name != "dst" || info.Size != 200_000 || info.Metadata["k"] != "v" || !info.Modified.Equal(src.Modified) {
			t.Fatalf("%+v, %v", info, err)
		}
		wantContent(t, s, "dst", content)
		if _, body := rawGet(t, blobs, "dst"); !bytes.Equal(body, srcBody) {
			t.Error("the body was encrypted again")
		}
		_, err = s.Copy(t.Context(), "dst", "src", &storage.CopyOptions{IfAbsent: true})
		wantError(t, err, atrest.ErrExists)
		_, err = s.Copy(t.Context(), "dst", "src", &storage.CopyOptions{IfVersion: "no"})
		wantError(t, err, atrest.ErrConflict)
		if info, err = s.Copy(t.Context(), "dst", "src", &storage.CopyOptions{IfVersion: info.Version}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Copy(t.Context(), "src", "src", nil); err != nil {
			t.Fatal(err)
		}
		wantContent(t, s, "src", content)

		if !deletesOnCondition(t, blobs) {
			_, err := s.Rename(t.Context(), "moved", "src", nil)
			wantError(t, err, atrest.ErrUnsupported)
			_, err = s.Stat(t.Context(), "moved")
			wantError(t, err, atrest.ErrNotFound)
			return
		}
		if _, err := s.Rename(t.Context(), "moved", "src", nil); err != nil {
			t.Fatal(err)
		}
		_, err = s.Stat(t.Context(), "src")
		wantError(t, err, atrest.ErrNotFound)
		wantContent(t, s, "moved", content)
		wantContent(t, s, "dst", content)
		if _, err := s.Rename(t.Context(), "moved", "moved", nil); err != nil {
			t.Fatal(err)
		}
		wantContent(t, s, "moved", content)
		_, err = s.Rename(t.Context(), "x", "missing", nil)
		wantError(t, err, atrest.ErrNotFound)
	})
}

// TestLargeObjectsTakeLittleMemory puts and gets 256 MiB and watches the heap.
func TestLargeObjectsTakeLittleMemory(t *testing.T) {
	const size, limit = 256 << 20, 32 << 20
	s := newStore(t, storage.Config{Backend: newDisk(t, t.TempDir())})
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	peak := watchHeap(t)
	if _, err := s.Put(t.Context(), "n", &zeros{size}, nil); err != nil {
		t.Fatal(err)
	}
	r, err := s.Get(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var n counter
	if _, err := r.WriteTo(&n); err != nil || n != size {
		t.Fatal(n, err)
	}
	if used := int64(peak()) - int64(before.HeapInuse); used > limit {
		t.Errorf("%d MiB of heap in use for one object", used>>20)
	}
}

// watchHeap samples the heap in use until the function it returns is called.
func watchHeap(t *testing.T) (peak func() uint64) {
	stop, result := make(chan struct{}), make(chan uint64)
	go func() {
		var most uint64
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				result <- most
				return
			case <-tick.C:
				var now runtime.MemStats
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapInuse)
			}
		}
	}()
	return func() uint64 { close(stop); return <-result }
}

type zeros struct{ left int }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), z.left)
	clear(p[:n])
	z.left -= n
	return n, nil
}

type counter int

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }
