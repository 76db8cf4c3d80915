package main

import (
	"bytes"
	"io"
	"slices"
	"testing"
)

// TestChecker: it finds what is altered, missing, twice there or misplaced.
func TestChecker(t *testing.T) {
	src := source{noise(1000), 2500}
	whole, err := io.ReadAll(src.reader())
	if err != nil || len(whole) != 2500 || !bytes.Equal(whole[:1000], whole[1000:2000]) {
		t.Fatalf("%d bytes, %v", len(whole), err)
	}
	good := &checker{s: src, thorough: true}
	if _, err := good.WriteAt(whole[700:], 700); err != nil {
		t.Fatal(err)
	}
	if _, err := good.WriteAt(whole[:700], 0); err != nil {
		t.Fatal(err)
	}
	if err := good.end(); err != nil {
		t.Error(err)
	}
	altered := bytes.Clone(whole)
	altered[1234] ^= 1
	for name, bad := range map[string][]byte{
		"altered": altered, "cut": whole[:2499], "empty": nil, "too long": append(bytes.Clone(whole), 0),
		"misplaced": slices.Concat(whole[500:], whole[:500]),
	} {
		c := &checker{s: src, thorough: true}
		_, err := c.Write(bad)
		if err == nil && c.end() == nil {
			t.Errorf("%s: nothing was found", name)
		}
	}
	quick := &checker{s: src}
	quick.Write(whole[:300])
	if _, err := quick.Write(whole[301:]); err == nil {
		t.Error("a byte was left out, and nothing was found")
	}
}

// TestSchemes: what each encrypts it decrypts, and nothing else.
func TestSchemes(t *testing.T) {
	schemes, err := newSchemes()
	if err != nil {
		t.Fatal(err)
	}
	for name, scheme := range schemes {
		for _, size := range []int64{1, 1 << 10, 64 << 10, 3<<20 + 1} {
			src := source{noise(int(min(size, 1<<20))), size}
			body := new(memoryBody)
			if err := roundTrip(scheme, src, body); err != nil {
				t.Errorf("%q, %d bytes: %v", name, size, err)
				continue
			}
			body.buf[len(body.buf)-1] ^= 1
			c := &checker{s: src, thorough: true}
			if err := scheme.decrypt(c, body.buf); err == nil {
				t.Errorf("%q, %d bytes: an altered body was accepted", name, size)
			}
		}
	}
}
