package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/atrest/atrest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testCipher(t testing.TB, size int) *Cipher {
	t.Helper()
	key := make([]byte, KeySize)
	for i := range key {
		key[i] = byte(i)
	}
	c, err := NewCipher(key, NewPrefix(), "test", size, NewPool(size))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// noise returns n bytes that repeat nowhere, the same each time.
func noise(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{7}).Read(p)
	return p
}

// edges are the plaintext sizes one below, at and above each segment's end.
func edges(size, segments int) []int {
	sizes := []int{0, 1}
	for i := 1; i <= segments; i++ {
		end := i*(size-TagSize) - PrefixSize
		sizes = append(sizes, end-1, end, end+1)
	}
	return sizes
}

func decryptAll(c *Cipher, src io.Reader, bodySize int64) ([]byte, error) {
	span, err := NewSpan(0, -1, bodySize, c.size)
	if err != nil {
		return nil, err
	}
	d := c.Decrypt(src, span)
	defer d.Close()
	return io.ReadAll(d)
}

func TestRoundTrip(t *testing.T) {
	for _, size := range []int{MinSize, 100, 4096, DefaultSize, 300_000} {
		sizes := edges(size, 3)
		// Around the end of a batch, and enough of them to go round the queue.
		batch := segmentsPerBatch(size)
		if size >= 4096 {
			sizes = append(sizes, edges(size, batch+1)[2+3*(batch-1):]...)
			sizes = append(sizes, 9*batch*size+5)
		}
		for _, n := range sizes {
			t.Run(fmt.Sprintf("%d/%d", size, n), func(t *testing.T) {
				testRoundTrip(t, testCipher(t, size), noise(n))
			})
		}
	}
}

func testRoundTrip(t *testing.T, c *Cipher, plaintext []byte) {
	body, err := c.Seal(plaintext)
	if err != nil {
		t.Fatal(err)
	}
	if want, err := c.SealedSize(int64(len(plaintext))); err != nil || int64(len(body)) != want {
		t.Fatalf("body is %d bytes long, SealedSize says %d, %v", len(body), want, err)
	}
	if n, err := PlainSize(int64(len(body)), c.size); err != nil || n != int64(len(plaintext)) {
		t.Fatalf("PlainSize = %d, %v; want %d", n, err, len(plaintext))
	}
	for name, src := range map[string]io.Reader{
		"plain":   bytes.NewReader(plaintext),
		"half":    iotest.HalfReader(bytes.NewReader(plaintext)),
		"dataErr": iotest.DataErrReader(bytes.NewReader(plaintext)),
	} {
		streamed, err := io.ReadAll(iotest.HalfReader(c.Encrypt(src)))
		if err != nil || !bytes.Equal(streamed, body) {
			t.Fatalf("source %q: streamed body differs from the one made in memory (%v)", name, err)
		}
	}
	var written bytes.Buffer
	if n, err := c.Encrypt(bytes.NewReader(plaintext)).WriteTo(&written); err != nil || n != int64(len(body)) || !bytes.Equal(written.Bytes(), body) {
		t.Fatalf("WriteTo = %d, %v; want %d", n, err, len(body))
	}

	if got, err := c.Open(body); err != nil || !bytes.Equal(got, plaintext) {
		t.Fatalf("Open: %v", err)
	}
	if got, err := decryptAll(c, bytes.NewReader(body), int64(len(body))); err != nil || !bytes.Equal(got, plaintext) {
		t.Fatalf("Decrypt: %v", err)
	}
	if got, err := decryptAll(c, iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(body))), int64(len(body))); err != nil || !bytes.Equal(got, plaintext) {
		t.Fatalf("Decrypt from a slow source: %v", err)
	}
}

// TestTamper flips each bit of a body of three segments, truncates it at each
// length, extends it, and swaps segments. Whatever comes out must be a prefix
// of the plaintext that ends at a segment's edge, followed by ErrTampered.
func TestTamper(t *testing.T) {
	c := testCipher(t, MinSize)
	plaintext := noise(2*(MinSize-TagSize) - PrefixSize + 20)
	body, err := c.Seal(plaintext)
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, forged []byte) {
		t.Helper()
		got, err := decryptAll(c, bytes.NewReader(forged), int64(len(forged)))
		if !errors.Is(err, atrest.ErrTampered) {
			t.Errorf("%s: Decrypt: %v, want ErrTampered", name, err)
		}
		if !bytes.HasPrefix(plaintext, got) {
			t.Errorf("%s: Decrypt released bytes that were not sealed", name)
		}
		if got, err := c.Open(forged); !errors.Is(err, atrest.ErrTampered) || got != nil {
			t.Errorf("%s: Open = %d bytes, %v; want ErrTampered", name, len(got), err)
		}
	}
	for i := range body {
		for bit := range 8 {
			forged := bytes.Clone(body)
			forged[i] ^= 1 << bit
			check(fmt.Sprintf("bit %d of byte %d", bit, i), forged)
		}
	}
	for n := range body {
		check(fmt.Sprintf("cut to %d", n), body[:n])
	}
	for n := 1; n <= 2*MinSize; n++ {
		check(fmt.Sprintf("extended by %d", n), append(bytes.Clone(body), noise(n)...))
	}
	swapped := bytes.Clone(body)
	copy(swapped[MinSize:], body[2*MinSize:])
	copy(swapped[MinSize+len(body)-2*MinSize:], body[MinSize:2*MinSize])
	check("swapped", swapped)
	other, err := testCipher(t, MinSize).Seal(plaintext)
	if err != nil {
		t.Fatal(err)
	}
	check("another body under the same key", other)
	check("spliced", append(bytes.Clone(body[:MinSize]), other[MinSize:]...))
}

// TestTamperInLaterBatch: what is damaged far into a stream must not keep what
// comes before it from being read, nor let anything after it out.
func TestTamperInLaterBatch(t *testing.T) {
	c := testCipher(t, 4096)
	plaintext := noise(3 << 20)
	body, err := c.Seal(plaintext)
	if err != nil {
		t.Fatal(err)
	}
	body[2<<20] ^= 1
	got, err := decryptAll(c, bytes.NewReader(body), int64(len(body)))
	if !errors.Is(err, atrest.ErrTampered) || !bytes.HasPrefix(plaintext, got) || len(got) < 1<<20 {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
}

func TestErrorIsSticky(t *testing.T) {
	c := testCipher(t, MinSize)
	body, err := c.Seal(noise(500))
	if err != nil {
		t.Fatal(err)
	}
	body[len(body)-1] ^= 1
	span, err := NewSpan(0, -1, int64(len(body)), c.size)
	if err != nil {
		t.Fatal(err)
	}
	d := c.Decrypt(bytes.NewReader(body), span)
	if _, err := io.ReadAll(d); !errors.Is(err, atrest.ErrTampered) {
		t.Fatal(err)
	}
	for range 3 {
		if n, err := d.Read(make([]byte, 10)); n != 0 || !errors.Is(err, atrest.ErrTampered) {
			t.Fatalf("after the failure: %d, %v", n, err)
		}
	}
	d.Close()
	if n, err := d.Read(make([]byte, 10)); n != 0 || !errors.Is(err, atrest.ErrTampered) {
		t.Fatalf("after Close: %d, %v", n, err)
	}
}

// TestRanges reads every range of a small body and compares it with the slice.
func TestRanges(t *testing.T) {
	c := testCipher(t, MinSize)
	for _, n := range edges(MinSize, 3) {
		plaintext := noise(n)
		body, err := c.Seal(plaintext)
		if err != nil {
			t.Fatal(err)
		}
		for offset := range n + 3 {
			for length := -1; length <= n+3; length++ {
				want := plaintext[min(offset, n):]
				if length >= 0 {
					want = want[:min(length, len(want))]
				}
				span, err := NewSpan(int64(offset), int64(length), int64(len(body)), MinSize)
				if err != nil {
					t.Fatal(err)
				}
				if limit := int64(len(want) + PrefixSize + 2*MinSize); span.Length > limit {
					t.Fatalf("%d+%d of %d fetches %d bytes", offset, length, n, span.Length)
				}
				d := c.Decrypt(bytes.NewReader(body[span.Offset:span.Offset+span.Length]), span)
				got, err := io.ReadAll(d)
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%d+%d of %d: %d bytes, %v; want %d", offset, length, n, len(got), err, len(want))
				}
			}
		}
	}
}

// TestRangeKnowsTheEnd: a body cut at a segment's edge must not make a range
// that reaches past the cut come out short, or empty, without an error.
func TestRangeKnowsTheEnd(t *testing.T) {
	c := testCipher(t, MinSize)
	body, err := c.Seal(noise(500))
	if err != nil {
		t.Fatal(err)
	}
	for segments := 1; segments < len(body)/MinSize; segments++ {
		cut := body[:segments*MinSize]
		size, err := PlainSize(int64(len(cut)), MinSize)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range [][2]int64{{size - 1, 2}, {size, 1}, {size + 1, 1}, {size + 100, 5}, {0, -1}, {size, -1}, {3, math.MaxInt64}, {math.MaxInt64, math.MaxInt64}, {size + 1, 0}} {
			span, err := NewSpan(r[0], r[1], int64(len(cut)), MinSize)
			if err != nil {
				t.Fatal(err)
			}
			d := c.Decrypt(bytes.NewReader(cut[span.Offset:span.Offset+span.Length]), span)
			if _, err := io.ReadAll(d); !errors.Is(err, atrest.ErrTampered) {
				t.Errorf("%d segments left, range %v: %v, want ErrTampered", segments, r, err)
			}
		}
	}
}

func TestSourceErrors(t *testing.T) {
	c := testCipher(t, 4096)
	boom := errors.New("boom")
	for _, n := range []int{0, 1, 4000, 4096, 1 << 20} {
		src := io.MultiReader(bytes.NewReader(noise(n)), iotest.ErrReader(boom))
		if _, err := io.Copy(io.Discard, c.Encrypt(src)); err != boom {
			t.Errorf("Encrypt of a source that fails after %d bytes: %v", n, err)
		}
		src = io.MultiReader(bytes.NewReader(noise(n)), iotest.ErrReader(io.ErrUnexpectedEOF))
		if _, err := io.Copy(io.Discard, c.Encrypt(src)); err != io.ErrUnexpectedEOF {
			t.Errorf("Encrypt of a source that is cut after %d bytes: %v", n, err)
		}
	}
	body, err := c.Seal(noise(1 << 20))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 4096, 1 << 19} {
		src := io.MultiReader(bytes.NewReader(body[:n]), iotest.ErrReader(boom))
		if _, err := decryptAll(c, src, int64(len(body))); err != boom {
			t.Errorf("Decrypt of a source that fails after %d bytes: %v", n, err)
		}
		if _, err := decryptAll(c, bytes.NewReader(body[:n]), int64(len(body))); !errors.Is(err, atrest.ErrTampered) {
			t.Errorf("Decrypt of a source that ends after %d bytes: %v", n, err)
		}
	}
	if _, err := io.ReadAll(c.Encrypt(stuckReader{})); err != io.ErrNoProgress {
		t.Errorf("Encrypt of a source that yields nothing: %v", err)
	}
}

type stuckReader struct{}

func (stuckReader) Read([]byte) (int, error) { return 0, nil }

func TestNewCipherRefuses(t *testing.T) {
	key, prefix := make([]byte, KeySize), NewPrefix()
	for _, size := range []int{-1, 0, MinSize - 1, MaxSize + 1, math.MaxInt32} {
		if _, err := NewCipher(key, prefix, "", size, new(Pool)); err == nil {
			t.Errorf("segment size %d is accepted", size)
		}
	}
	if _, err := NewCipher(key[:31], prefix, "", MinSize, new(Pool)); err == nil {
		t.Error("a key of 31 bytes is accepted")
	}
	prefix[0]++
	if _, err := NewCipher(key, prefix, "", MinSize, new(Pool)); !errors.Is(err, atrest.ErrTampered) {
		t.Errorf("a wrong prefix: %v", err)
	}
}

func TestSizes(t *testing.T) {
	for _, size := range []int{MinSize, DefaultSize, MaxSize} {
		most := int64(maxSegments)*int64(size-TagSize) - PrefixSize
		sealed, err := SealedSize(most, size)
		if err != nil || sealed != int64(maxSegments)*int64(size) {
			t.Errorf("SealedSize(%d, %d) = %d, %v", most, size, sealed, err)
		}
		if got, err := PlainSize(sealed, size); err != nil || got != most {
			t.Errorf("PlainSize(%d, %d) = %d, %v; want %d", sealed, size, got, err, most)
		}
		if _, err := SealedSize(most+1, size); !errors.Is(err, atrest.ErrTooLarge) {
			t.Errorf("SealedSize of a byte too many: %v", err)
		}
		for _, n := range []int64{-1, 0, PrefixSize + TagSize - 1, sealed + 1, sealed + TagSize + 1, int64(size) + TagSize, math.MaxInt64, math.MinInt64} {
			if got, err := PlainSize(n, size); !errors.Is(err, atrest.ErrTampered) {
				t.Errorf("PlainSize(%d, %d) = %d, %v; want ErrTampered", n, size, got, err)
			}
		}
	}
}

// TestShortStreamsStartNoGoroutine counts goroutines while the work is done.
func TestShortStreamsStartNoGoroutine(t *testing.T) {
	c := testCipher(t, DefaultSize)
	before := runtime.NumGoroutine()
	for range 100 {
		e := c.Encrypt(bytes.NewReader(noise(1000)))
		if _, err := e.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if n := runtime.NumGoroutine(); n > before {
			t.Fatalf("%d goroutines, %d before", n, before)
		}
		e.Close()
	}
}

// TestAbandoned: streams left at any point leave no goroutine (TestMain looks)
// and no plaintext in the buffers that go back to the pool.
func TestAbandoned(t *testing.T) {
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
		d := c.Decrypt(bytes.NewReader(body), span)
		if _, err := io.CopyN(io.Discard, d, int64(n)); err != nil {
			t.Fatal(err)
		}
		held := slices.Clone(d.pipe.queue)
		if d.pipe.current != nil {
			held = append(held, d.pipe.current)
		}
		d.Close()
		for _, b := range held {
			for at := 0; at+16 <= len(b.buf); at += c.size {
				if left := b.buf[at : at+16]; !bytes.Equal(left, make([]byte, 16)) && bytes.Contains(plaintext, left) {
					t.Fatalf("after %d bytes, a buffer still holds plaintext", n)
				}
			}
		}
		if _, err := d.Read(make([]byte, 1)); err != errClosed {
			t.Fatalf("read after Close: %v", err)
		}
	}
}

// TestMemoryIsBounded streams a gigabyte's tenth through both directions and
// looks at how much was allocated.
func TestMemoryIsBounded(t *testing.T) {
	const size = 100 << 20
	c := testCipher(t, DefaultSize)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	e := c.Encrypt(io.LimitReader(zeros{}, size))
	sealed, err := SealedSize(size, DefaultSize)
	if err != nil {
		t.Fatal(err)
	}
	span, err := NewSpan(0, -1, sealed, DefaultSize)
	if err != nil {
		t.Fatal(err)
	}
	d := c.Decrypt(e, span)
	if n, err := io.Copy(io.Discard, d); n != size || err != nil {
		t.Fatal(n, err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
		t.Errorf("allocated %d MiB", n>>20)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func FuzzDecrypt(f *testing.F) {
	c := testCipher(f, MinSize)
	body, err := c.Seal([]byte("some plaintext that takes more than one segment of 64 bytes"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body, int64(0), int64(-1))
	f.Add(body[:MinSize], int64(4), int64(9))
	f.Fuzz(func(t *testing.T, forged []byte, offset, length int64) {
		span, err := NewSpan(offset, length, int64(len(forged)), MinSize)
		if err != nil {
			return
		}
		if span.Offset < 0 || span.Length < 0 || span.Offset+span.Length > int64(len(forged)) {
			t.Fatalf("span %+v of %d bytes", span, len(forged))
		}
		got, err := io.ReadAll(c.Decrypt(bytes.NewReader(forged[span.Offset:span.Offset+span.Length]), span))
		if err == nil && len(got) > 0 && !bytes.Contains(forged, body[:PrefixSize]) && offset == 0 {
			t.Fatalf("%d bytes of a forgery were released", len(got))
		}
	})
}
