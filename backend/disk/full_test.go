package disk

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/tinyfs"
)

// TestFileSystemFull fills a real file system: puts that do not fit fail with
// ErrStorageFull and leave the old object and no residue, and once something is
// deleted the store works again.
func TestFileSystemFull(t *testing.T) {
	const size = 4 << 20
	dir := tinyfs.Mount(t, size)
	s := openStore(t, Config{Dir: dir})
	put := func(name string, n int) error {
		_, err := s.Put(t.Context(), name, []byte("header"), bytes.NewReader(bytes.Repeat([]byte{7}, n)), backend.Condition{})
		return err
	}
	for _, name := range []string{"kept", "small"} {
		if err := put(name, size/4); err != nil {
			t.Fatal(err)
		}
	}
	// One that needs a body file, one that is stored in the header file.
	wantFull := func(name string, n int) {
		t.Helper()
		if err := put(name, n); !errors.Is(err, atrest.ErrStorageFull) {
			t.Errorf("put %q of %d bytes: %v, want ErrStorageFull", name, n, err)
		}
	}
	wantFull("kept", size)
	wantFull("new", size)
	filled := 0
	for put(fillerName(filled), inlineLimit) == nil {
		filled++
	}
	wantFull("new", inlineLimit)
	wantFull("small", inlineLimit)

	for _, name := range []string{"kept", "small"} {
		obj, err := s.Get(t.Context(), name, backend.All, "")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, obj.Body); n != size/4 || err != nil {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
		obj.Body.Close()
	}
	if left := residue(t, dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	for i := range filled {
		if err := s.Delete(t.Context(), fillerName(i), backend.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := put("new", size/4); err != nil {
		t.Error(err)
	}
}

func fillerName(i int) string { return "filler-" + string(rune('a'+i/26)) + string(rune('a'+i%26)) }
