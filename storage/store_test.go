package storage_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/storage"
)

func TestPutGet(t *testing.T) {
	onEach(t, func(t *testing.T, blobs backend.Blobs) {
		s := newStore(t, storage.Config{Backend: blobs})
		metadata := storage.Metadata{"content-type": "text/plain", "empty": "", "ключ": "значение"}
		for _, n := range []int{0, 1, 1000, 65479, 65480, 65481, 65536, 65537, 3 << 20} {
			content := noise(n)
			for kind, src := range map[string]io.Reader{
				"sized": bytes.NewReader(content),
				"plain": io.MultiReader(bytes.NewReader(content)),
				"slow":  iotest.HalfReader(bytes.NewReader(content)),
			} {
				name := fmt.Sprintf("%s/%d", kind, n)
				before := time.Now().Truncate(time.Microsecond)
				info, err := s.Put(t.Context(), name, src, &storage.PutOptions{Metadata: metadata})
				if err != nil {
					t.Fatal(err)
				}
				r, err := s.Get(t.Context(), name)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(iotest.HalfReader(r))
				if err != nil || !bytes.Equal(got, content) {
					t.Fatalf("%s: %d bytes, %v", name, len(got), err)
				}
				if err := errors.Join(r.Close(), r.Close()); err != nil {
					t.Fatal(err)
				}
				stat, err := s.Stat(t.Context(), name)
				if err != nil {
					t.Fatal(err)
				}
				for _, i := range []storage.Info{info, r.Info(), stat} {
					if i.Name != name || i.Size != int64(n) || i.Version != info.Version || i.KeyVersion != 1 ||
						!i.Modified.Equal(info.Modified) || i.Modified.Before(before) || len(i.Metadata) != 3 || i.Metadata["ключ"] != "значение" {
						t.Fatalf("%s: info %+v", name, i)
					}
				}
			}
		}
	})
}

func TestCiphertextHidesPlaintext(t *testing.T) {
	blobs := memory.New()
	s := newStore(t, storage.Config{Backend: blobs})
	secret := bytes.Repeat([]byte("a secret that repeats itself. "), 5000)
	if _, err := s.PutBytes(t.Context(), "n", secret, &storage.PutOptions{Metadata: storage.Metadata{"k": "sealed value"}}); err != nil {
		t.Fatal(err)
	}
	header, body := rawGet(t, blobs, "n")
	for _, part := range []string{"a secret", "repeats itself", "sealed value"} {
		if bytes.Contains(body, []byte(part)) || bytes.Contains(header, []byte(part)) {
			t.Errorf("the backend holds %q", part)
		}
	}
}

func TestRange(t *testing.T) {
	onEach(t, func(t *testing.T, blobs backend.Blobs) {
		keys := newKeys(t, vault)
		for _, size := range []int{64, 100, 4096} {
			writer := newStore(t, storage.Config{Backend: blobs, Keys: keys, SegmentSize: size})
			// A reader guesses the segment size, and must cope when it is wrong.
			reader := newStore(t, storage.Config{Backend: blobs, Keys: keys, SegmentSize: 100})
			for _, n := range []int{0, 1, 44, 200, 1000} {
				content := noise(n)
				mustPut(t, writer, "n", content)
				for _, offset := range []int64{0, 1, 43, 44, 45, 60, 199, 200, 999, 1000, 1001, 5000, math.MaxInt64} {
					for _, length := range []int64{-1, 0, 1, 44, 45, 500, 5000, math.MaxInt64} {
						r, err := reader.GetRange(t.Context(), "n", offset, length)
						if err != nil {
							t.Fatalf("size %d, %d+%d of %d: %v", size, offset, length, n, err)
						}
						got, err := io.ReadAll(r)
						r.Close()
						want := content[min(offset, int64(n)):]
						if length >= 0 {
							want = want[:min(length, int64(len(want)))]
						}
						if err != nil || !bytes.Equal(got, want) || r.Info().Size != int64(n) {
							t.Fatalf("size %d, %d+%d of %d: %d bytes, %v; want %d", size, offset, length, n, len(got), err, len(want))
						}
					}
				}
			}
		}
	})
}

// TestBadNames: nothing is asked of the backend, the source or Vault.
func TestBadNames(t *testing.T) {
	s := newStore(t, storage.Config{})
	for _, name := range []string{"", "\xff", "nul\x00", strings.Repeat("x", 901)} {
		untouched := iotest.ErrReader(errors.New("the source was read"))
		_, err := s.Put(t.Context(), name, untouched, nil)
		wantError(t, err, atrest.ErrInvalidName)
		_, err = s.Get(t.Context(), name)
		wantError(t, err, atrest.ErrInvalidName)
		_, err = s.Stat(t.Context(), name)
		wantError(t, err, atrest.ErrInvalidName)
		wantError(t, s.Delete(t.Context(), name, nil), atrest.ErrInvalidName)
		_, err = s.Copy(t.Context(), name, "n", nil)
		wantError(t, err, atrest.ErrInvalidName)
		_, err = s.Copy(t.Context(), "n", name, nil)
		wantError(t, err, atrest.ErrInvalidName)
	}
}

func TestMissing(t *testing.T) {
	onEach(t, func(t *testing.T, blobs backend.Blobs) {
		s := newStore(t, storage.Config{Backend: blobs})
		_, err := s.Get(t.Context(), "n")
		wantError(t, err, atrest.ErrNotFound)
		_, err = s.Stat(t.Context(), "n")
		wantError(t, err, atrest.ErrNotFound)
		_, err = s.Copy(t.Context(), "m", "n", nil)
		wantError(t, err, atrest.ErrNotFound)
		if err := s.Delete(t.Context(), "n", nil); err != nil {
			t.Fatal(err)
		}
	})
}

func TestConditions(t *testing.T) {
	onEach(t, func(t *testing.T, blobs backend.Blobs) {
		s := newStore(t, storage.Config{Backend: blobs})
		first := mustPut(t, s, "n", []byte("1"))
		_, err := s.PutBytes(t.Context(), "n", []byte("2"), &storage.PutOptions{IfAbsent: true})
		wantError(t, err, atrest.ErrExists)
		second, err := s.PutBytes(t.Context(), "n", []byte("2"), &storage.PutOptions{IfVersion: first.Version})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.PutBytes(t.Context(), "n", []byte("3"), &storage.PutOptions{IfVersion: first.Version})
		wantError(t, err, atrest.ErrConflict)
		if !deletesOnCondition(t, blobs) {
			wantError(t, s.Delete(t.Context(), "n", &storage.DeleteOptions{IfVersion: second.Version}), atrest.ErrUnsupported)
			wantContent(t, s, "n", []byte("2"))
			return
		}
		wantError(t, s.Delete(t.Context(), "n", &storage.DeleteOptions{IfVersion: first.Version}), atrest.ErrConflict)
		wantContent(t, s, "n", []byte("2"))
		if err := s.Delete(t.Context(), "n", &storage.DeleteOptions{IfVersion: second.Version}); err != nil {
			t.Fatal(err)
		}
		_, err = s.PutBytes(t.Context(), "n", []byte("4"), &storage.PutOptions{IfVersion: second.Version})
		wantError(t, err, atrest.ErrConflict)
		if _, err := s.PutBytes(t.Context(), "n", []byte("4"), &storage.PutOptions{IfAbsent: true}); err != nil {
			t.Fatal(err)
		}
		_, err = s.PutBytes(t.Context(), "n", nil, &storage.PutOptions{IfAbsent: true, IfVersion: "v"})
		wantError(t, err, atrest.ErrUnsupported)
	})
}

func TestMetadataLimits(t *testing.T) {
	s := newStore(t, storage.Config{})
	for _, bad := range []storage.Metadata{
		{"": "empty key"}, {strings.Repeat("k", 256): ""}, {"k": "\xff"}, {"\xff": ""},
	} {
		if _, err := s.PutBytes(t.Context(), "n", nil, &storage.PutOptions{Metadata: bad}); err == nil {
			t.Errorf("metadata %v is accepted", map[string]string(bad))
		}
	}
	_, err := s.PutBytes(t.Context(), "n", nil, &storage.PutOptions{Metadata: storage.Metadata{"k": strings.Repeat("v", 509)}})
	wantError(t, err, atrest.ErrTooLarge)
	most := storage.Metadata{"k": strings.Repeat("v", 508)}
	if _, err := s.PutBytes(t.Context(), "n", nil, &storage.PutOptions{Metadata: most}); err != nil {
		t.Fatal(err)
	}
	if info, err := s.Stat(t.Context(), "n"); err != nil || info.Metadata["k"] != most["k"] {
		t.Fatal(err)
	}
	if _, err := s.PutBytes(t.Context(), "n", nil, &storage.PutOptions{Metadata: storage.Metadata{}}); err != nil {
		t.Fatal(err)
	}
}

type customError struct{}

func (*customError) Error() string { return "custom" }

func TestFailingSource(t *testing.T) {
	onEach(t, func(t *testing.T, blobs backend.Blobs) {
		s := newStore(t, storage.Config{Backend: blobs})
		old := mustPut(t, s, "n", []byte("old"))
		for _, n := range []int{0, 1, 100_000, 10 << 20} {
			_, err := s.Put(t.Context(), "n", io.MultiReader(bytes.NewReader(noise(n)), iotest.ErrReader(&customError{})), nil)
			if _, ok := errors.AsType[*customError](err); !ok {
				t.Fatalf("after %d bytes: %v", n, err)
			}
			if info, err := s.Stat(t.Context(), "n"); err != nil || info.Version != old.Version {
				t.Fatalf("after %d bytes: %+v, %v", n, info, err)
			}
		}
		wantContent(t, s, "n", []byte("old"))
		for _, said := range []int{-1000, 0, 5, 199_999, 200_001, 1 << 40} {
			if _, err := s.Put(t.Context(), "n", &liar{bytes.NewReader(noise(200_000)), said}, nil); err != nil {
				t.Fatalf("a source that says it has %d bytes: %v", said, err)
			}
			wantContent(t, s, "n", noise(200_000))
		}
	})
}

// liar is wrong about its length.
type liar struct {
	io.Reader
	said int
}

func (l *liar) Len() int { return l.said }

func TestConsumerError(t *testing.T) {
	s := newStore(t, storage.Config{})
	for _, n := range []int{10, 1 << 20} {
		mustPut(t, s, "n", noise(n))
		r, err := s.Get(t.Context(), "n")
		if err != nil {
			t.Fatal(err)
		}
		want := &customError{}
		if _, err := r.WriteTo(failingWriter{want}); err != error(want) {
			t.Errorf("WriteTo changed the writer's error to %v", err)
		}
		r.Close()
		if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
			t.Errorf("Read after Close: %d, %v", n, err)
		}
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestNewRefuses(t *testing.T) {
	keys, blobs := newKeys(t, vault), memory.New()
	for name, cfg := range map[string]storage.Config{
		"no id":        {Backend: blobs, Keys: keys},
		"long id":      {ID: strings.Repeat("x", 256), Backend: blobs, Keys: keys},
		"bad id":       {ID: "\xff", Backend: blobs, Keys: keys},
		"no backend":   {ID: "x", Keys: keys},
		"no keys":      {ID: "x", Backend: blobs},
		"segment size": {ID: "x", Backend: blobs, Keys: keys, SegmentSize: 63},
		"large":        {ID: "x", Backend: blobs, Keys: keys, SegmentSize: 16<<20 + 1},
		"negative":     {ID: "x", Backend: blobs, Keys: keys, SegmentSize: -1},
	} {
		if _, err := storage.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestReadersDuringOverwrites: each read is of one version, whole.
func TestReadersDuringOverwrites(t *testing.T) {
	onEach(t, func(t *testing.T, blobs backend.Blobs) {
		s := newStore(t, storage.Config{Backend: blobs, SegmentSize: 4096})
		content := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 20_000+i*100) }
		mustPut(t, s, "n", content(0))
		done := make(chan struct{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					// A range to the end takes two steps, so it meets overwrites.
					r, err := s.GetRange(t.Context(), "n", 19_000, 1<<20)
					if err != nil {
						t.Error(err)
						return
					}
					got, err := io.ReadAll(r)
					r.Close()
					if errors.Is(err, atrest.ErrTampered) || err != nil {
						t.Error(err)
						return
					}
					if want := content(int(got[0]))[19_000:]; !bytes.Equal(got, want) {
						t.Errorf("a mixture of %d bytes", len(got))
						return
					}
				}
			})
		}
		for i := range 50 {
			mustPut(t, s, "n", content(i))
		}
		close(done)
		wg.Wait()
	})
}

func TestNothingPrintsSecrets(t *testing.T) {
	s := newStore(t, storage.Config{})
	if _, err := s.PutBytes(t.Context(), "n", []byte("the plaintext"), &storage.PutOptions{Metadata: storage.Metadata{"k": "the metadata"}}); err != nil {
		t.Fatal(err)
	}
	r, err := s.Get(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{s, *s, r, r.Info(), new(r.Info()), r.Info().Metadata, struct{ R *storage.Reader }{r}} {
			text := fmt.Sprintf(verb, v)
			for _, secret := range []string{"the plaintext", "the metadata", fmt.Sprintf("%x", "the metadata"), fmt.Sprint([]byte("the plaintext"))} {
				if strings.Contains(text, secret) {
					t.Errorf("%s of %T shows %q", verb, v, secret)
				}
			}
		}
	}
}
