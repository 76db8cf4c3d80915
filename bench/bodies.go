package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/atrest/atrest/internal/segment"
)

// bodySizes are the plaintexts that are encrypted, in memory.
var bodySizes = []struct {
	name string
	size int64
}{
	{"1KiB", 1 << 10}, {"64KiB", 64 << 10}, {"1MiB", 1 << 20}, {"64MiB", 64 << 20}, {"1GiB", 1 << 30},
}

// maxBlock is how much of a plaintext differs from the rest of it.
const maxBlock = 64 << 20

// bodyComparisons are the encryption and decryption of bodies, from memory to
// nowhere, without a backend and without Vault. Ours uses all cores, and the
// others one, which is all that they can.
func bodyComparisons(s settings) []comparison {
	others := []other{
		{name: "aesgcm", about: "crypto/cipher, AES-256-GCM, 1 MiB segments"},
		{name: "tink", about: "tink-go, AES256_GCM_HKDF_1MB"},
		{name: "sio", about: "minio/sio, DARE 2.0"},
		{name: "age", about: "age, X25519"},
		{name: "fastest", about: "the fastest of tink, sio and age", fastestOf: []string{"tink", "sio", "age"}},
		{name: "copy", about: "copying the plaintext"},
	}
	var all []comparison
	for _, direction := range []string{"encrypt", "decrypt"} {
		for _, size := range bodySizes {
			c := comparison{name: "body/" + direction + "/" + size.name, unit: gigabytes, others: others, alone: true}
			if size.size >= 64<<20 {
				c.rounds = s.fewRounds()
			}
			c.open = func(_ context.Context, e *env, need need) (*work, error) {
				schemes, err := newSchemes()
				if err != nil {
					return nil, err
				}
				largest := s.scaled(1<<30, 256<<20) // whose rate is that of larger ones
				return bodyWork(e.settings, direction == "encrypt", min(size.size, largest), schemes, need)
			}
			all = append(all, c)
		}
	}
	return all
}

// segmentComparisons are what segment.DefaultSize was chosen by: bodies of the
// default size beside those of other sizes.
func segmentComparisons(s settings) []comparison {
	sizes := map[string]int{
		"4KiB": 4 << 10, "16KiB": 16 << 10, "32KiB": 32 << 10, "128KiB": 128 << 10, "256KiB": 256 << 10, "1MiB": 1 << 20,
	}
	var all []comparison
	for _, direction := range []string{"encrypt", "decrypt"} {
		c := comparison{name: "segment/" + direction, unit: gigabytes, alone: true}
		for _, name := range []string{"4KiB", "16KiB", "32KiB", "128KiB", "256KiB", "1MiB"} {
			c.others = append(c.others, other{name: name, about: "ours in segments of " + name})
		}
		c.open = func(_ context.Context, e *env, need need) (*work, error) {
			key := noise(segment.KeySize)
			schemes := map[string]scheme{oursName: &oursScheme{key, segment.DefaultSize, segment.NewPool(segment.DefaultSize)}}
			for name, size := range sizes {
				schemes[name] = &oursScheme{key, size, segment.NewPool(size)}
			}
			return bodyWork(e.settings, direction == "encrypt", s.scaled(64<<20, 16<<20), schemes, need)
		}
		all = append(all, c)
	}
	return all
}

// bodyWork has each scheme encrypt, or decrypt, bodies of one size.
func bodyWork(s settings, encrypt bool, size int64, schemes map[string]scheme, need need) (*work, error) {
	src := source{noise(int(min(size, maxBlock))), size}
	// One body at a time is in memory: those of 1 GiB would not fit all.
	body := &memoryBody{buf: make([]byte, 0, size+size/32+64<<10)}
	w := &work{others: make(map[string]contender), detail: fmt.Sprintf("from memory to nowhere, ours in segments of %d KiB", segment.DefaultSize>>10)}
	checks := make(map[string]scheme)
	for name, scheme := range schemes {
		if name != oursName && !need[name] {
			continue
		}
		checks[name] = scheme
		c := decryption(scheme, src, body, s.target())
		if encrypt {
			c = encryption(scheme, src, s.target())
		}
		if name == oursName {
			w.ours = c
		} else {
			w.others[name] = c
		}
	}
	w.check = func(context.Context) error {
		for name, scheme := range checks {
			if size > s.scaled(maxBlock, 1<<20) {
				break // That takes long, and each decryption has looked already.
			}
			if err := roundTrip(scheme, src, body); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	}
	return w, nil
}

// bodyCrowd is a crowd of one. Large bodies are not repeated within a run.
func bodyCrowd(src source, target time.Duration, op func() error) *crowd {
	c := &crowd{callers: 1, target: target, op: func(context.Context, int64) error { return op() }}
	if src.size >= 256<<20 {
		c.perRun = 1
	}
	return c
}

func encryption(s scheme, src source, target time.Duration) contender {
	c := bodyCrowd(src, target, func() error {
		var n counter
		if err := s.encrypt(&n, src); err != nil {
			return err
		}
		if n.n < src.size {
			return errTooFewBytes
		}
		return nil
	})
	return contender{run: c.run, amount: float64(src.size), cold: c.perRun > 0}
}

func decryption(s scheme, src source, body *memoryBody, target time.Duration) contender {
	c := bodyCrowd(src, target, func() error {
		check := &checker{s: src}
		if err := s.decrypt(check, body.buf); err != nil {
			return err
		}
		return check.end()
	})
	return contender{
		prepare: func(context.Context) error { return body.fill(s, src) },
		run:     c.run,
		amount:  float64(src.size),
		cold:    c.perRun > 0,
	}
}

// roundTrip encrypts and decrypts a body and compares all of it.
func roundTrip(s scheme, src source, body *memoryBody) error {
	if err := body.fill(s, src); err != nil {
		return err
	}
	check := &checker{s: src, thorough: true}
	if err := s.decrypt(check, body.buf); err != nil {
		return err
	}
	return check.end()
}

// A memoryBody is a body, in memory that is used for one after the other.
type memoryBody struct{ buf []byte }

func (b *memoryBody) Write(p []byte) (int, error) {
	b.buf = append(b.buf, p...)
	return len(p), nil
}

func (b *memoryBody) fill(s scheme, src source) error {
	b.buf = b.buf[:0]
	return s.encrypt(io.Writer(b), src)
}
