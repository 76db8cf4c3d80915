package storage

import (
	"bytes"
	"strings"
	"testing"

	"github.com/atrest/atrest/backend"
)

func escapedForVector(t *testing.T, name string) string {
	t.Helper()
	escaped, err := backend.Escape(name)
	if err != nil {
		t.Fatal(err)
	}
	return escaped
}

func testHeader() *header {
	s := &Store{mount: "transit", key: "atrest", segmentSize: 65536}
	h := s.newHeader()
	h.immutable.sealed = bytes.Repeat([]byte{7}, 20)
	h.wrapped = wrappedKey{version: 1, ciphertext: bytes.Repeat([]byte{9}, 60)}
	return h
}

// TestLargestHeaderFits: no header that can be made is refused by a backend or
// by the parser.
func TestLargestHeaderFits(t *testing.T) {
	h := testHeader()
	h.immutable.sealed = make([]byte, maxSealed)
	h.wrapped = wrappedKey{version: maxKeyVersion, ciphertext: make([]byte, maxWrapped)}
	h.mount, h.key = strings.Repeat("m", maxKeyName), strings.Repeat("k", maxKeyName)
	b := h.marshal()
	if len(b) != maxHeaderBytes || len(b) > backend.MaxHeader {
		t.Fatalf("%d bytes", len(b))
	}
	if _, err := parseHeader(b); err != nil {
		t.Fatal(err)
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(testHeader().marshal())
	plain := testHeader()
	plain.immutable.sealed = nil
	f.Add(plain.marshal())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b)
		if err != nil {
			return
		}
		if !bytes.Equal(h.marshal(), b) {
			t.Fatalf("%x is parsed, but marshalled as %x", b, h.marshal())
		}
	})
}

func FuzzDecodeMetadata(f *testing.F) {
	encoded, err := Metadata{"a": "b", "content-type": "text/plain"}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoded)
	f.Add([]byte{1, 'a', 0, 0, 1, 'a', 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMetadata(b)
		if err != nil || len(b) > MaxMetadata {
			return
		}
		again, err := m.encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x is decoded, but encoded as %x, %v", b, again, err)
		}
	})
}

func FuzzParseWrapped(f *testing.F) {
	f.Add(wrappedKey{1, bytes.Repeat([]byte{9}, 60)}.text())
	f.Add("vault:v01:AA==")
	f.Add("vault:v1:AB==")
	f.Fuzz(func(t *testing.T, text string) {
		if w, err := parseWrapped(text); err == nil && w.text() != text {
			t.Fatalf("%q is parsed, but its text is %q", text, w.text())
		}
	})
}
