package disk

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

func sampleRecords() [][]byte {
	inline := record{id: bodyID{1, 2, 3}, size: 5, inline: true, header: []byte("header")}
	empty := record{id: bodyID{4}, inline: true}
	separate := record{id: bodyID{7}, size: 1 << 40, header: bytes.Repeat([]byte{9}, backend.MaxHeader)}
	return [][]byte{inline.marshal([]byte("12345")), empty.marshal(nil), separate.marshal(nil)}
}

// FuzzRecord checks that whatever is taken for a header file is exactly what
// would be written for the same record.
func FuzzRecord(f *testing.F) {
	samples := sampleRecords()
	if len(samples) == 0 {
		f.Fatal("no samples")
	}
	for _, b := range samples {
		f.Add(b)
		f.Add(append(b, 0))
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		at, err := parseFile(bytes.NewReader(b), int64(len(b)), true)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Errorf("error %v", err)
			}
			return
		}
		if again := at.rec.marshal(at.inline); !bytes.Equal(again, b) {
			t.Errorf("%x was parsed, and is %x now", b, again)
		}
	})
}

// TestVector holds version 1 of the record to its bytes.
func TestVector(t *testing.T) {
	rec := record{id: bodyID{0xab, 15: 0xcd}, size: 3, inline: true, header: []byte("hi")}
	want := "atrest\x00\x01" + "\x00" + "\xab" + string(make([]byte, 14)) + "\xcd" +
		"\x00\x00\x00\x00\x00\x00\x00\x03" + "\x00\x02" + "hi" + vectorHeadSum + "xyz" + vectorBodySum
	if got := rec.marshal([]byte("xyz")); string(got) != want {
		t.Errorf("record is\n%q, want\n%q", got, want)
	}
}

// TestDamagedHeaderFile flips each byte of a header file, cuts it at each
// length and lets it grow.
func TestDamagedHeaderFile(t *testing.T) {
	dir := t.TempDir() + "/store"
	s := openStore(t, Config{Dir: dir})
	for _, st := range []state{newSmall, newBig} {
		if err := doPut(t.Context(), s, scenario{to: st}); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, headerPath("team/app/!C3!A9tat"))
		good, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var bad [][]byte
		for i := range good {
			b := bytes.Clone(good)
			b[i] ^= 1 << (i % 8)
			bad = append(bad, b, good[:i])
		}
		bad = append(bad, append(bytes.Clone(good), 0), append(bytes.Clone(good), good...), make([]byte, 1<<20))
		for i, b := range bad {
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Get(t.Context(), target, backend.All, ""); !errors.Is(err, atrest.ErrTampered) {
				t.Fatalf("damage %d: Get: %v", i, err)
			}
		}
		// The file is damaged still: what can be done with it?
		if _, err := s.Put(t.Context(), target, nil, bytes.NewReader(nil), backend.Condition{IfVersion: "x"}); !errors.Is(err, atrest.ErrTampered) {
			t.Errorf("Put with a version: %v", err)
		}
		if _, err := s.Put(t.Context(), target, nil, bytes.NewReader(nil), backend.Condition{IfAbsent: true}); !errors.Is(err, atrest.ErrExists) {
			t.Errorf("Put if absent: %v", err)
		}
		if err := doPut(t.Context(), s, scenario{to: newSmall}); err != nil {
			t.Errorf("Put: %v", err)
		}
		if err := is(t.Context(), s, target, newSmall); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(file, bad[0], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), target, backend.Condition{}); err != nil {
			t.Errorf("Delete: %v", err)
		}
	}
}

// TestDamagedIsListed checks that one damaged header file hides no other.
func TestDamagedIsListed(t *testing.T) {
	dir := t.TempDir() + "/store"
	s := openStore(t, Config{Dir: dir})
	for _, name := range []string{"a", "b", "c"} {
		if _, err := s.Put(t.Context(), name, []byte("h"), bytes.NewReader([]byte("body")), backend.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		os.Truncate(dir+"/objects/b!", 30),
		os.WriteFile(dir+"/objects/foreign", nil, 0o600),
		os.WriteFile(dir+"/objects/.hidden!", nil, 0o600),
		os.Mkdir(dir+"/objects/%", 0o700),
		os.Mkdir(dir+"/objects/d!", 0o700),
	); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for e, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString(e.Name)
		if damaged := e.Name == "b"; damaged != (e.Version == "") || damaged != (e.Header == nil) {
			t.Errorf("entry %+v", e)
		}
	}
	if got.String() != "abc" {
		t.Errorf("listed %q", got.String())
	}
}

func TestDamagedBodyFile(t *testing.T) {
	dir := t.TempDir() + "/store"
	s := openStore(t, Config{Dir: dir})
	v, err := s.Put(t.Context(), target, []byte("h"), bytes.NewReader(newBig.body()), backend.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, bodiesDir, string(v[:2]), string(v))
	if err := os.Truncate(file, int64(newBig.size)-1); err != nil {
		t.Fatal(err)
	}
	o, err := s.Get(t.Context(), target, backend.All, "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(o.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, atrest.ErrTampered) || len(got) != newBig.size-1 {
		t.Errorf("of a body cut short %d bytes were read, then %v", len(got), err)
	}
	o.Body.Close()
	if err := os.Truncate(file, int64(newBig.size)+1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), target, backend.All, ""); !errors.Is(err, atrest.ErrTampered) {
		t.Errorf("Get of a body that is too long: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), target, backend.All, ""); !errors.Is(err, atrest.ErrTampered) {
		t.Errorf("Get without a body: %v", err)
	}
	if _, err := s.Copy(t.Context(), "copy", target, v, nil, backend.Condition{}); !errors.Is(err, atrest.ErrTampered) {
		t.Errorf("Copy without a body: %v", err)
	}
	if o, err := s.Get(t.Context(), target, backend.Range{}, ""); err != nil {
		t.Errorf("Get of the header alone: %v", err)
	} else {
		o.Body.Close()
	}
}

// The CRC-32C of the two parts of the vector, computed bit by bit with another
// program.
const (
	vectorHeadSum = "\x4e\xa0\x20\xb2"
	vectorBodySum = "\x25\x23\x68\x85"
)
