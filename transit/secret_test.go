package transit

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

func TestSecretBody(t *testing.T) {
	text := strings.Repeat("body ", 100)
	body := &secretBody{data: []byte(text)}
	data := body.data
	r := body.reader()
	for range 2 { // the second time after a rewind
		got, err := io.ReadAll(iotest.OneByteReader(r))
		if err != nil || string(got) != text || r.Len() != len(text) {
			t.Fatalf("read %d bytes of %d, %v", len(got), r.Len(), err)
		}
		if _, err := r.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Seek(1, io.SeekStart); err == nil {
		t.Error("seeks elsewhere")
	}
	var wg sync.WaitGroup
	wg.Go(func() { io.Copy(io.Discard, iotest.OneByteReader(body.reader())) })
	body.wipe()
	wg.Wait()
	if !bytes.Equal(data, make([]byte, len(data))) {
		t.Error("not wiped")
	}
	if _, err := r.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("reading a wiped body: %v, which looks like its end", err)
	}
}

func TestReadBounded(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4096, 4097, 10000, 10001, 20000} {
		got, err := readBounded(iotest.HalfReader(bytes.NewReader(make([]byte, size))), 10000)
		if err != nil || len(got) != min(size, 10001) {
			t.Errorf("%d of %d bytes, %v", len(got), size, err)
		}
	}
	broken := io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if got, err := readBounded(broken, 10); got != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestPlaintext(t *testing.T) {
	for text, want := range map[string]string{
		`"c2VjcmV0"`: "secret", `""`: "", `"c2Vj\u0063mV0"`: "!", `"c2VjcmV"`: "!", `1`: "!", `{}`: "!", `["c2Vj"]`: "!", `"Zh=="`: "!",
	} {
		var p plaintext
		err := json.Unmarshal([]byte(text), &p)
		if (err != nil) != (want == "!") || err == nil && string(p) != want {
			t.Errorf("%s: %q, %v", text, p, err)
		}
		if err != nil && strings.Contains(err.Error(), "c2V") {
			t.Errorf("the error shows the text: %v", err)
		}
	}
}

// The buffer holds data keys: were it to grow, a copy would stay behind.
func TestEncodeBatchDoesNotGrow(t *testing.T) {
	items := make([]item, maxBatch)
	for i := range items {
		items[i] = item{secret: make([]byte, maxDataKey), context: make([]byte, maxContext)}
	}
	b := encodeBatch(encryptOp, strings.Repeat("n", 13), items)
	var size = len(encryptOp.head) + 2
	size += maxBatch * (128 + 684 + 1368)
	if cap(b) > size+size/8 || len(b) > 3<<20 { // allocation classes round up
		t.Errorf("%d bytes in %d, planned %d", len(b), cap(b), size)
	}
	if !json.Valid(b) {
		t.Error("not JSON")
	}
}
