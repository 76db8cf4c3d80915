package storage

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/segment"
)

var writeVectors = flag.Bool("write-vectors", false, "write test vectors that are missing from testdata/vectors")

const vectorDir = "testdata/vectors"

// A vector is one object as docs/format.md has it, and all that is needed to
// read it but Vault. All bytes are in hexadecimal. They are committed for good:
// whatever wrote one, every later version must read it.
type vector struct {
	Comment   string            `json:"comment"`
	DataKey   string            `json:"data_key"` // what Vault unwraps
	StoreID   string            `json:"store_id"`
	Name      string            `json:"name"`
	Escaped   string            `json:"escaped_name"`
	Context   string            `json:"context"`     // of the call to Vault
	Wrapped   string            `json:"wrapped_key"` // Vault's text; no Vault's key is known for it
	Mount     string            `json:"mount"`
	Key       string            `json:"key"`
	Micros    int64             `json:"time_microseconds"`
	Segment   int               `json:"segment_size"`
	Metadata  map[string]string `json:"metadata"`
	Header    string            `json:"header"`
	Body      string            `json:"body"`
	Plaintext string            `json:"plaintext"`
	// Invalid objects must be refused; they have no plaintext.
	Invalid bool `json:"invalid,omitempty"`
}

func TestVectors(t *testing.T) {
	if *writeVectors {
		makeVectors(t)
	}
	files, err := filepath.Glob(filepath.Join(vectorDir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	valid, invalid := 0, 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var v vector
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		t.Run(filepath.Base(file), func(t *testing.T) { v.check(t) })
		if v.Invalid {
			invalid++
		} else {
			valid++
		}
	}
	if valid < 8 || invalid < 6 {
		t.Fatalf("%d valid and %d invalid vectors were found; some are missing", valid, invalid)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (v *vector) check(t *testing.T) {
	plaintext, err := v.read(t)
	if v.Invalid {
		if !errors.Is(err, atrest.ErrTampered) {
			t.Fatalf("%v, want ErrTampered", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(plaintext, unhex(t, v.Plaintext)) {
		t.Fatal("the plaintext differs")
	}
	s := &Store{id: v.StoreID}
	if got := hex.EncodeToString(s.keyContext(v.Name)); got != v.Context {
		t.Errorf("context is %s", got)
	}
}

// read opens the vector's object and compares the fields on the way.
func (v *vector) read(t *testing.T) ([]byte, error) {
	raw := unhex(t, v.Header)
	h, err := parseHeader(raw)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(h.marshal(), raw) {
		t.Error("the header is not what marshal makes of it")
	}
	dataKey := unhex(t, v.DataKey)
	if err := h.immutable.check(dataKey, unhex(t, v.Context)); err != nil {
		return nil, err
	}
	metadata, err := h.immutable.openMetadata(dataKey)
	if err != nil {
		return nil, err
	}
	if fmt.Sprint(map[string]string(metadata)) != fmt.Sprint(v.Metadata) || h.immutable.modified().UnixMicro() != v.Micros ||
		h.wrapped.text() != v.Wrapped || h.mount != v.Mount || h.key != v.Key || h.immutable.segmentSize != v.Segment {
		t.Errorf("the header's fields are %+v %v", h, map[string]string(metadata))
	}
	s := &Store{pool: segment.NewPool(v.Segment)}
	cipher, err := s.bodyCipher(dataKey, &h.immutable)
	if err != nil {
		return nil, err
	}
	body := unhex(t, v.Body)
	span, err := segment.NewSpan(0, -1, int64(len(body)), v.Segment)
	if err != nil {
		return nil, err
	}
	streamed, err := io.ReadAll(cipher.Decrypt(bytes.NewReader(body), span))
	whole, wholeErr := cipher.Open(body)
	if (err == nil) != (wholeErr == nil) || err == nil && !bytes.Equal(streamed, whole) {
		t.Errorf("Decrypt (%v) and Open (%v) disagree", err, wholeErr)
	}
	return streamed, err
}

// makeVectors writes the vectors that are not there. It never replaces one.
func makeVectors(t *testing.T) {
	random := rand.NewChaCha8([32]byte([]byte("atrest test vectors, version one")))
	bytesOf := func(n int) []byte { b := make([]byte, n); random.Read(b); return b }
	build := func(comment, name string, segmentSize, n int, metadata Metadata, change func(header, body []byte) ([]byte, []byte)) *vector {
		s := &Store{id: "vectors", mount: "transit", key: "atrest", segmentSize: segmentSize, pool: segment.NewPool(segmentSize)}
		dataKey, plaintext := bytesOf(32), bytesOf(n)
		h := s.newHeader()
		h.immutable.micros = 1790000000123456
		copy(h.immutable.prefix[1:], bytesOf(segment.PrefixSize-1))
		h.wrapped = wrappedKey{version: 3, ciphertext: bytesOf(60)}
		encoded, err := metadata.encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(h.immutable.sealMetadata(dataKey, encoded), h.immutable.sign(dataKey, s.keyContext(name))); err != nil {
			t.Fatal(err)
		}
		cipher, err := s.bodyCipher(dataKey, &h.immutable)
		if err != nil {
			t.Fatal(err)
		}
		body, err := cipher.Seal(plaintext)
		if err != nil {
			t.Fatal(err)
		}
		header := h.marshal()
		v := &vector{
			Comment: comment, DataKey: hex.EncodeToString(dataKey), StoreID: s.id, Name: name,
			Escaped: escapedForVector(t, name), Context: hex.EncodeToString(s.keyContext(name)),
			Wrapped: h.wrapped.text(), Mount: s.mount, Key: s.key, Micros: int64(h.immutable.micros),
			Segment: segmentSize, Metadata: metadata, Plaintext: hex.EncodeToString(plaintext),
		}
		if change != nil {
			header, body = change(header, body)
			v.Invalid, v.Plaintext = true, ""
		}
		v.Header, v.Body = hex.EncodeToString(header), hex.EncodeToString(body)
		return v
	}
	flip := func(at int) func(h, b []byte) ([]byte, []byte) {
		return func(h, b []byte) ([]byte, []byte) { h[at] ^= 1; return h, b }
	}
	for file, v := range map[string]*vector{
		"empty":             build("no plaintext, no metadata", "empty", 64, 0, nil, nil),
		"one-byte":          build("one byte", "a", 64, 1, nil, nil),
		"first-full":        build("exactly the first segment", "team/app/state-1.json", 64, 8, nil, nil),
		"second-begun":      build("a byte in the second segment", "../x", 64, 9, nil, nil),
		"second-full":       build("exactly two segments", "a//b", 64, 56, nil, nil),
		"third-begun":       build("a byte in the third segment", ".env", 64, 57, nil, nil),
		"odd-segment-size":  build("segments of 100 bytes", "with space\nand line", 100, 500, nil, nil),
		"default-segment":   build("segments of 65,536 bytes", "éclair/🔑", 65536, 300, nil, nil),
		"metadata":          build("three entries of metadata", "m", 64, 20, Metadata{"content-type": "text/plain", "empty": "", "ключ": "значение"}, nil),
		"bad-magic":         build("another magic", "x", 64, 20, nil, flip(0)),
		"bad-version":       build("another format version", "x", 64, 20, nil, flip(6)),
		"bad-suite":         build("another suite", "x", 64, 20, nil, flip(7)),
		"bad-segment-size":  build("a segment size changed after the tag was made", "x", 64, 20, nil, flip(11)),
		"bad-time":          build("a changed time", "x", 64, 20, nil, flip(19)),
		"bad-tag":           build("a changed tag", "x", 64, 20, nil, flip(62)),
		"bad-metadata":      build("changed sealed metadata", "x", 64, 20, Metadata{"k": "v"}, flip(63)),
		"header-trailing":   build("a byte after the header", "x", 64, 20, nil, func(h, b []byte) ([]byte, []byte) { return append(h, 0), b }),
		"body-truncated":    build("the last segment is missing", "x", 64, 100, nil, func(h, b []byte) ([]byte, []byte) { return h, b[:128] }),
		"body-swapped":      build("second and third segment swapped", "x", 64, 104, nil, func(h, b []byte) ([]byte, []byte) { return h, bytes.Join([][]byte{b[:64], b[128:], b[64:128]}, nil) }),
		"body-empty-last":   build("an empty segment after the last full one", "x", 64, 8, nil, func(h, b []byte) ([]byte, []byte) { return h, append(b, make([]byte, 16)...) }),
		"body-other-prefix": build("another salt than the header has", "x", 64, 20, nil, func(h, b []byte) ([]byte, []byte) { b[1] ^= 1; return h, b }),
	} {
		path := filepath.Join(vectorDir, "v1-"+file+".json")
		if _, err := os.Stat(path); err == nil {
			continue
		}
		text, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.MkdirAll(vectorDir, 0o755), os.WriteFile(path, append(text, '\n'), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}
