package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/atrest/atrest"
)

// A lendingSource lends a body in pieces that end wherever its memory does, as a
// backend.ChunkReader may. What is given back is overwritten, and what never was,
// is found out.
type lendingSource struct {
	t     *testing.T
	body  []byte
	piece func() int // of memory, from one end to the next
	room  int        // left of the piece at hand
	fail  error      // instead of io.EOF

	mu     sync.Mutex
	lent   map[*byte]int // how many bytes
	copied int           // bytes that were read instead
}

func newLendingSource(t *testing.T, body []byte, piece func() int) *lendingSource {
	return &lendingSource{t: t, body: body, piece: piece, fail: io.EOF, lent: map[*byte]int{}}
}

func (l *lendingSource) Read(p []byte) (int, error) {
	if len(l.body) == 0 {
		return 0, l.fail
	}
	n := copy(p, l.body[:min(l.left(), len(l.body))])
	l.copied += n
	l.advance(n)
	return n, nil
}

func (l *lendingSource) NextChunk(n int) ([]byte, func(), error) {
	if n < 1 {
		l.t.Errorf("a chunk of %d bytes was asked for", n)
	}
	if len(l.body) == 0 {
		return nil, nil, l.fail
	}
	chunk := bytes.Clone(l.body[:min(n, l.left(), len(l.body))])
	l.advance(len(chunk))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lent[&chunk[0]] = len(chunk)
	return chunk, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.lent[&chunk[0]] == 0 {
			l.t.Error("a chunk was released twice")
		}
		delete(l.lent, &chunk[0])
		clear(chunk)
	}, nil
}

// left begins another piece if the one at hand has ended.
func (l *lendingSource) left() int {
	if l.room == 0 {
		l.room = l.piece()
	}
	return l.room
}

func (l *lendingSource) advance(n int) { l.body, l.room = l.body[n:], l.room-n }

func (l *lendingSource) wantNothingLent(when string) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lent) > 0 {
		l.t.Errorf("%s, %d chunks were not released", when, len(l.lent))
	}
}

func always(n int) func() int { return func() int { return n } }

// TestLent decrypts bodies out of memory that is lent in pieces of all kinds.
func TestLent(t *testing.T) {
	for _, size := range []int{MinSize, 4096, DefaultSize, 300_000} {
		batch := segmentsPerBatch(size) * size
		pieces := map[string]func() int{"odd": always(batch/3 + 7), "small": always(31)}
		for name, n := range map[string]int{"segment": size, "batch": batch, "large": 8 * batch, "whole": 1 << 30, "almost a batch": batch - 1} {
			pieces[name] = always(n)
		}
		at := 0
		pieces["mixed"] = func() int { at++; return []int{1, batch, size + 1, 3 * size, 5*batch + 1}[at%5] }
		for name, piece := range pieces {
			t.Run(fmt.Sprintf("%d/%s", size, name), func(t *testing.T) {
				c := testCipher(t, size)
				for _, n := range append(edges(size, 2), 6*batch+5) {
					testLent(t, c, noise(n), piece)
				}
			})
		}
	}
}

func testLent(t *testing.T, c *Cipher, plaintext []byte, piece func() int) {
	t.Helper()
	body, err := c.Seal(plaintext)
	if err != nil {
		t.Fatal(err)
	}
	src := newLendingSource(t, body, piece)
	if got, err := decryptAll(c, src, int64(len(body))); err != nil || !bytes.Equal(got, plaintext) {
		t.Fatalf("of %d bytes, %d came back, %v", len(plaintext), len(got), err)
	}
	src.wantNothingLent("at the end")
	src = newLendingSource(t, body, piece)
	span, err := NewSpan(0, -1, int64(len(body)), c.size)
	if err != nil {
		t.Fatal(err)
	}
	d := c.Decrypt(src, span)
	defer d.Close()
	var written bytes.Buffer
	if n, err := d.WriteTo(&written); err != nil || n != int64(len(plaintext)) || !bytes.Equal(written.Bytes(), plaintext) {
		t.Fatalf("of %d bytes, WriteTo wrote %d, %v", len(plaintext), n, err)
	}
}

// TestLentIsNotCopied counts the bytes that are copied of a body in pieces of whole
// segments: none.
func TestLentIsNotCopied(t *testing.T) {
	c := testCipher(t, DefaultSize)
	body, err := c.Seal(noise(20 << 20))
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range []int{15 * DefaultSize, 8 << 20} {
		src := newLendingSource(t, body, always(piece))
		if _, err := decryptAll(c, src, int64(len(body))); err != nil {
			t.Fatal(err)
		}
		if src.copied > 0 {
			t.Errorf("of pieces of %d bytes, %d bytes were copied", piece, src.copied)
		}
	}
}

// TestLentRanges reads every range of a small body out of lent memory.
func TestLentRanges(t *testing.T) {
	c := testCipher(t, MinSize)
	const n = 150
	plaintext := noise(n)
	body, err := c.Seal(plaintext)
	if err != nil {
		t.Fatal(err)
	}
	for offset := range n + 3 {
		for _, length := range []int{-1, 0, 1, 2, MinSize - TagSize, MinSize, 100, n, n + 3} {
			want := plaintext[min(offset, n):]
			if length >= 0 {
				want = want[:min(length, len(want))]
			}
			span, err := NewSpan(int64(offset), int64(length), int64(len(body)), MinSize)
			if err != nil {
				t.Fatal(err)
			}
			for _, piece := range []int{1, MinSize - 1, MinSize, 1000} {
				src := newLendingSource(t, body[span.Offset:span.Offset+span.Length], always(piece))
				got, err := io.ReadAll(c.Decrypt(src, span))
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%d+%d in pieces of %d: %d bytes, %v; want %d", offset, length, piece, len(got), err, len(want))
				}
				src.wantNothingLent("at the end")
			}
		}
	}
}

// TestLentTamper: no bit of lent memory may differ, and nothing stays borrowed when
// one does.
func TestLentTamper(t *testing.T) {
	c := testCipher(t, MinSize)
	plaintext := noise(2*(MinSize-TagSize) - PrefixSize + 20)
	body, err := c.Seal(plaintext)
	if err != nil {
		t.Fatal(err)
	}
	for i := range body {
		forged := bytes.Clone(body)
		forged[i] ^= 1 << (i % 8)
		for _, piece := range []int{MinSize, MinSize + 1, 1000} {
			src := newLendingSource(t, forged, always(piece))
			got, err := decryptAll(c, src, int64(len(forged)))
			if !errors.Is(err, atrest.ErrTampered) || !bytes.HasPrefix(plaintext, got) {
				t.Errorf("byte %d in pieces of %d: %d bytes, %v; want ErrTampered", i, piece, len(got), err)
			}
			src.wantNothingLent("after the failure")
		}
	}
	for n := range body {
		src := newLendingSource(t, body[:n], always(1000))
		if got, err := decryptAll(c, src, int64(len(body))); !errors.Is(err, atrest.ErrTampered) || !bytes.HasPrefix(plaintext, got) {
			t.Errorf("cut to %d: %d bytes, %v; want ErrTampered", n, len(got), err)
		}
		src.wantNothingLent("after the end came early")
	}
}

// TestLentAbandoned: a stream that is left at any point gives everything back, and
// leaves no plaintext in its buffers.
func TestLentAbandoned(t *testing.T) {
	c := testCipher(t, 4096)
	plaintext := noise(4 << 20)
	body, err := c.Seal(plaintext)
	if err != nil {
		t.Fatal(err)
	}
	span, err := NewSpan(0, -1, int64(len(body)), c.size)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 1 << 18, 3 << 20} {
		src := newLendingSource(t, body, always(1<<20))
		d := c.Decrypt(src, span)
		if _, err := io.CopyN(io.Discard, d, int64(n)); err != nil {
			t.Fatal(err)
		}
		held := slices.Clone(d.pipe.queue)
		if d.pipe.current != nil {
			held = append(held, d.pipe.current)
		}
		d.Close()
		src.wantNothingLent(fmt.Sprintf("after %d bytes and Close", n))
		for _, b := range held {
			for at := 0; at+16 <= len(b.buf); at += c.size {
				if left := b.buf[at : at+16]; !bytes.Equal(left, make([]byte, 16)) && bytes.Contains(plaintext, left) {
					t.Fatalf("after %d bytes, a buffer still holds plaintext", n)
				}
			}
		}
	}
}

// TestLentErrors: errors of a source that lends come as they are, also from the
// middle of a batch.
func TestLentErrors(t *testing.T) {
	c := testCipher(t, 4096)
	body, err := c.Seal(noise(1 << 20))
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	for _, n := range []int{0, 1, 4096, 5000, 1 << 19} {
		src := newLendingSource(t, body[:n], always(1<<20))
		src.fail = boom
		if _, err := decryptAll(c, src, int64(len(body))); err != boom {
			t.Errorf("a source that fails after %d bytes: %v", n, err)
		}
		src.wantNothingLent("after the failure")
	}
	greedy := greedySource{bytes.NewReader(body)}
	if _, err := decryptAll(c, greedy, int64(len(body))); err != errImpossible {
		t.Errorf("a source that lends more than is asked for: %v", err)
	}
}

type greedySource struct{ io.Reader }

func (g greedySource) NextChunk(n int) ([]byte, func(), error) {
	return make([]byte, n+1), func() {}, nil
}
