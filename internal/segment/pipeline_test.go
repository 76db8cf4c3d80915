package segment

import (
	"bytes"
	"io"
	"slices"
	"testing"
)

// watchBuffers returns all buffers that a pipeline has filled.
func watchBuffers(p *pipeline) (buffers func() [][]byte) {
	var all [][]byte
	fill := p.fill
	p.fill = func(b *batch) error {
		if !slices.ContainsFunc(all, func(buf []byte) bool { return &buf[0] == &b.buf[0] }) {
			all = append(all, b.buf)
		}
		return fill(b)
	}
	return func() [][]byte { return all }
}

// wantWiped fails the test if a buffer holds the secret, and unless there are some.
func wantWiped(t *testing.T, what string, buffers [][]byte, secret []byte) {
	t.Helper()
	if len(buffers) < 2 {
		t.Errorf("%s: %d buffers", what, len(buffers))
	}
	for i, buf := range buffers {
		if bytes.Contains(buf, secret) {
			t.Errorf("%s: buffer %d of %d still holds plaintext", what, i, len(buffers))
		}
	}
}

// TestWipedAtTheEnd: no buffer of a stream that was read to its end holds plaintext,
// also those that had no more to do when the source had ended.
func TestWipedAtTheEnd(t *testing.T) {
	c := testCipher(t, 4096)
	secret := []byte("SECRET--")
	body, err := c.Seal(bytes.Repeat(secret, 3<<20/len(secret)))
	if err != nil {
		t.Fatal(err)
	}
	span, err := NewSpan(0, -1, int64(len(body)), c.size)
	if err != nil {
		t.Fatal(err)
	}
	d := c.Decrypt(bytes.NewReader(body), span)
	buffers := watchBuffers(&d.pipe)
	if _, err := d.WriteTo(io.Discard); err != nil {
		t.Fatal(err)
	}
	wantWiped(t, "at the end", buffers(), secret)
}

// A panicking source panics after so many secrets, with another in hand.
type panicking struct {
	secret []byte
	left   int
}

func (s *panicking) Read(p []byte) (int, error) {
	n := copy(p, s.secret)
	if s.left--; s.left < 0 {
		panic("source")
	}
	return n, nil
}

// TestWipedAfterPanic: what a source has written before it panicked is wiped, at the
// latest by Close.
func TestWipedAfterPanic(t *testing.T) {
	c := testCipher(t, 4096)
	secret := []byte("SECRET--")
	for _, left := range []int{3 << 20 / len(secret), 5 << 20 / len(secret)} { // in a spare buffer
		e := c.Encrypt(&panicking{secret: secret, left: left})
		buffers := watchBuffers(&e.pipe)
		func() {
			defer func() {
				if recover() != "source" {
					t.Error("the panic was lost")
				}
			}()
			n, err := e.WriteTo(io.Discard)
			t.Error(n, err)
		}()
		if e.pipe.spare != nil {
			t.Error("a spare buffer was left")
		}
		e.Close()
		wantWiped(t, "after a panic", buffers(), secret)
	}
}

// TestBuffersComeBack: streams that were read to their end allocate no buffers anew.
func TestBuffersComeBack(t *testing.T) {
	c := testCipher(t, DefaultSize)
	body, err := c.Seal(make([]byte, 8<<20))
	if err != nil {
		t.Fatal(err)
	}
	span, err := NewSpan(0, -1, int64(len(body)), c.size)
	if err != nil {
		t.Fatal(err)
	}
	d := c.Decrypt(bytes.NewReader(body), span)
	var held []*batch
	fill := d.pipe.fill
	d.pipe.fill = func(b *batch) error {
		if !slices.Contains(held, b) {
			held = append(held, b)
		}
		return fill(b)
	}
	if _, err := d.WriteTo(io.Discard); err != nil {
		t.Fatal(err)
	}
	for i, b := range held {
		if b.work != nil || b.dirty != 0 { // as a wiped one, which only the pool has
			t.Errorf("batch %d of %d is not the pool's again", i, len(held))
		}
	}
}
