package s3

import (
	"bytes"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/devs3"
)

// TestCapabilities has what the probe finds out about the two servers.
func TestCapabilities(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		s := newStore(t, config(t, srv))
		caps, err := s.Capabilities(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", caps)
		want := map[devs3.Kind]Capabilities{
			devs3.MinIO:     {CopySource: true},
			devs3.VersityGW: {CopySource: true, ConditionalPut: true},
			devs3.External:  caps,
		}
		if caps != want[srv.Kind()] {
			t.Errorf("found %+v; want %+v", caps, want[srv.Kind()])
		}
		if left := residue(t, s); len(left) > 0 {
			t.Errorf("the probe has left %q", left)
		}
	})
}

// TestUnsupported has what a server that decides nothing must not be asked for.
func TestUnsupported(t *testing.T) {
	t.Parallel()
	s := newStore(t, config(t, server(t, unconditional(t))))
	v := mustPut(t, s, "name", "header", []byte("body"))
	put := func(cond backend.Condition) error {
		_, err := s.Put(t.Context(), "name", nil, readerFunc(func([]byte) (int, error) {
			t.Error("the body is read before the condition is refused")
			return 0, http.ErrBodyNotAllowed
		}), cond)
		return err
	}
	_, copyErr := s.Copy(t.Context(), "name", "name", v, nil, backend.Condition{})
	for what, err := range map[string]error{
		"Put if absent":     put(backend.Condition{IfAbsent: true}),
		"Put if version":    put(backend.Condition{IfVersion: v}),
		"Delete if version": s.Delete(t.Context(), "name", backend.Condition{IfVersion: v}),
		"Copy onto itself":  copyErr,
		"SetHeader":         s.SetHeader(t.Context(), backend.HeaderUpdate{Name: "name", Version: v, Old: []byte("header"), New: []byte("new")}),
	} {
		wantError(t, what, err, atrest.ErrUnsupported)
		if !strings.Contains(err.Error(), "SoleWriter") {
			t.Errorf("%s: the error does not name the remedy: %v", what, err)
		}
	}
	want(t, s, "name", v, "header", []byte("body"))
}

// TestRequests counts the requests of each operation.
func TestRequests(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		for _, sole := range []bool{false, true} {
			cfg := config(t, srv)
			cfg.SoleWriter = sole
			var w *wire
			cfg.Client, w = tap(t, cfg.Client)
			s := newStore(t, cfg)
			sent := func(what, want string) {
				t.Helper()
				if got := w.take(); got != want {
					t.Errorf("%s (SoleWriter %v): sent were %s; want %s", what, sole, got, want)
				}
			}
			get := func(rng backend.Range) {
				o, err := s.Get(t.Context(), "name", rng, "")
				if err != nil {
					t.Fatal(err)
				}
				o.Body.Close()
			}
			sent("New", "ListObjectsV2")
			mustPut(t, s, "name", "header", payload(1, 1000))
			sent("Put", "PutObject")
			get(backend.All)
			sent("Get", "GetObject")
			get(backend.Range{Offset: 10, Length: 100})
			sent("Get of a range", "GetObject")
			get(backend.Range{})
			sent("Get of the header", "GetObject")
			list(t, s, "", "")
			sent("List", "ListObjectsV2")
			v := mustPut(t, s, "name", "header", payload(1, maxChunk-1))
			sent("Put of 8 MiB", "PutObject")
			want(t, s, "name", v, "header", payload(1, maxChunk-1))
			sent("Get of 8 MiB", "GetObject")
			v = mustPut(t, s, "large", "header", payload(1, 17<<20))
			sent("Put of 17 MiB", "CreateMultipartUpload UploadPart UploadPart UploadPart CompleteMultipartUpload GetObject")
			want(t, s, "large", v, "header", payload(1, 17<<20))
			sent("Get of 17 MiB", "GetObject GetObject GetObject")
			if err := s.Delete(t.Context(), "large", backend.Condition{}); err != nil {
				t.Fatal(err)
			}
			sent("Delete", "DeleteObject")
		}
	})
}

// TestConditionalRequests counts those that need conditions, on the server that
// honours them.
func TestConditionalRequests(t *testing.T) {
	t.Parallel()
	cfg := config(t, server(t, conditional(t)))
	var w *wire
	cfg.Client, w = tap(t, cfg.Client)
	s := newStore(t, cfg)
	caps, err := s.Capabilities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(w.take())); n > 25 {
		t.Errorf("New and the probe took %d requests", n)
	}
	v, err := s.Put(t.Context(), "name", []byte("1"), strings.NewReader("body"), backend.Condition{IfAbsent: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := w.take(); got != "PutObject" {
		t.Errorf("Put if absent: sent were %s", got)
	}
	if err := s.SetHeader(t.Context(), backend.HeaderUpdate{Name: "name", Version: v, Old: []byte("1"), New: []byte("2")}); err != nil {
		t.Fatal(err)
	}
	got := w.take()
	t.Logf("SetHeader: %s", got)
	want := "GetObject CreateMultipartUpload UploadPartCopy GetObject CompleteMultipartUpload GetObject"
	if caps.ConditionalCopy {
		want = "GetObject CopyObject"
	}
	if got != want {
		t.Errorf("SetHeader of a server with %+v: sent were %s; want %s", caps, got, want)
	}
}

// TestMultipartCopy copies bodies that are too long for one request, by a limit
// that is lowered.
func TestMultipartCopy(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		cfg := config(t, srv)
		cfg.SoleWriter = srv.Kind() == devs3.MinIO
		cfg.copyLimit = 2 * minPart
		var w *wire
		cfg.Client, w = tap(t, cfg.Client)
		s := newStore(t, cfg)
		body := payload(1, 11<<20)
		v := mustPut(t, s, "name", "header", body)
		if _, err := s.Capabilities(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.take()
		copied, err := s.Copy(t.Context(), "copy", "name", v, []byte("copied"), backend.Condition{})
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(w.take(), "UploadPartCopy"); n != 2 {
			t.Errorf("the copy was made of %d parts; want 2", n)
		}
		for _, header := range [][2]string{{"header", "new"}, {"new", "newer"}} {
			if err := s.SetHeader(t.Context(), backend.HeaderUpdate{Name: "name", Version: v, Old: []byte(header[0]), New: []byte(header[1])}); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(w.take(), "UploadPartCopy"); n != 2 {
				t.Errorf("the header was set by a copy of %d parts; want 2", n)
			}
		}
		want(t, s, "name", v, "newer", body)
		want(t, s, "copy", copied, "copied", body)
	})
}

func TestCopyPart(t *testing.T) {
	for _, limit := range []int64{2 * minPart, copyLimit} {
		for _, size := range []int64{1, minPart, limit - 1, limit, limit + 1, 2*limit - 1, 2 * limit, 2*limit + 1, 1000*limit + 7} {
			part := copyPart(size, limit)
			n := (size + part - 1) / part
			if part > limit || n > maxParts || n > 1 && part < minPart || size-(n-1)*part > part {
				t.Errorf("%d bytes with a limit of %d: %d parts of %d", size, limit, n, part)
			}
		}
	}
}

// TestStages computes what the documentation of Config.PartSize says.
func TestStages(t *testing.T) {
	for _, cfg := range []Config{{}, {PartSize: 64 << 20}, {PartSize: maxPart}, {Concurrency: 1}, {Concurrency: 16}} {
		cfg.Client, cfg.Bucket = config(t, server(t, devs3.Kinds()[0])).Client, "b"
		if err := cfg.complete(); err != nil {
			t.Fatal(err)
		}
		parts, size := 0, int64(0)
		for _, st := range (&Store{cfg: cfg}).stages() {
			parts += st.parts
			size += int64(st.parts) * st.size
			if memory := int64(st.buffers) * st.size; memory > int64(cfg.Concurrency+2)*cfg.PartSize || st.size > maxPart || st.buffers < 1 {
				t.Errorf("PartSize %d, Concurrency %d: %d buffers of %d", cfg.PartSize, cfg.Concurrency, st.buffers, st.size)
			}
		}
		t.Logf("PartSize %d MiB, Concurrency %d: %d GiB", cfg.PartSize>>20, cfg.Concurrency, size>>30)
		if parts != maxParts || cfg.PartSize == defaultPart && cfg.Concurrency == defaultConcurrency && size>>30 < 335 {
			t.Errorf("%d parts of %d GiB in all", parts, size>>30)
		}
	}
}

// TestEncryption looks at the headers that ask for encryption on the server. One
// of the two servers ignores them, the other refuses them.
func TestEncryption(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		cfg := config(t, srv)
		cfg.SoleWriter = true
		cfg.PartSize = minPart
		cfg.ServerSideEncryption, cfg.SSEKMSKeyID, cfg.BucketKeyEnabled = types.ServerSideEncryptionAwsKms, "some-key", true
		var w *wire
		cfg.Client, w = tap(t, cfg.Client)
		s := newStore(t, cfg)
		v, err := s.Put(t.Context(), "name", nil, strings.NewReader("body"), backend.Condition{})
		if err == nil {
			_, err = s.Copy(t.Context(), "copy", "name", v, nil, backend.Condition{})
		} else {
			t.Logf("refused: %v", err)
			wantError(t, "Put", err, atrest.ErrUnsupported)
		}
		ops := []string{"PutObject", "CreateMultipartUpload"}
		if err == nil {
			ops = append(ops, "CopyObject")
		}
		_, _ = s.Put(t.Context(), "name", nil, bytes.NewReader(payload(1, minPart+1)), backend.Condition{}) // refused or not
		for _, op := range ops {
			for header, want := range map[string]string{
				"X-Amz-Server-Side-Encryption":                    "aws:kms",
				"X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id":     "some-key",
				"X-Amz-Server-Side-Encryption-Bucket-Key-Enabled": "true",
			} {
				values := w.headersOf(op, header)
				if len(values) == 0 {
					t.Errorf("there was no %s", op)
				}
				for _, value := range values {
					if value != want {
						t.Errorf("%s with the header %s: %q; want %q", op, header, value, want)
					}
				}
			}
		}
	})
}

// TestMemory puts and gets a body of 160 MiB with the defaults.
func TestMemory(t *testing.T) {
	const size, limit = 160 << 20, 64 << 20
	eachServerAlone(t, func(t *testing.T, srv *devs3.Server) {
		s := newStore(t, config(t, srv))
		runtime.GC()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		var peak, passed atomic.Uint64
		look := func(n int) {
			if passed.Add(uint64(n))%(8<<20) < uint64(n) {
				runtime.GC()
				var now runtime.MemStats
				runtime.ReadMemStats(&now)
				peak.Store(max(peak.Load(), now.HeapAlloc-min(now.HeapAlloc, before.HeapAlloc)))
			}
		}
		body := &repeated{chunk: payload(1, 1<<20), left: size, look: look}
		v, err := s.Put(t.Context(), "name", nil, body, backend.Condition{})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("Put: at most %d MiB", peak.Load()>>20)
		if peak.Load() > limit {
			t.Errorf("Put of %d MiB had %d MiB in use", size>>20, peak.Load()>>20)
		}
		peak.Store(0)
		o, err := s.Get(t.Context(), "name", backend.All, v)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Body.Close()
		buf := make([]byte, 1<<20)
		for n := 0; err == nil; look(n) {
			n, err = o.Body.Read(buf)
		}
		t.Logf("Get: at most %d MiB, pools included", peak.Load()>>20)
		if peak.Load() > limit || passed.Load() < 2*size {
			t.Errorf("Get of %d MiB had %d MiB in use, and ended with %v", size>>20, peak.Load()>>20, err)
		}
		if err := s.Delete(t.Context(), "name", backend.Condition{}); err != nil {
			t.Fatal(err)
		}
	})
}

// repeated yields the chunk until so many bytes have come.
type repeated struct {
	chunk []byte
	left  int
	look  func(n int)
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.chunk[:min(len(r.chunk), r.left)])
	r.left -= n
	if n == 0 {
		return 0, io.EOF
	}
	if r.look != nil {
		r.look(n)
	}
	return n, nil
}
