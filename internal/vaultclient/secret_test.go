package vaultclient

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

func TestSecretBody(t *testing.T) {
	text := strings.Repeat("body ", 100)
	body := RawBody([]byte(text))
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
	body.Wipe()
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
