package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/devs3"
	"github.com/atrest/atrest/internal/faultproxy"
	"github.com/atrest/atrest/internal/tinyfs"
)

// throughProxy returns a Config whose requests go through a proxy.
func throughProxy(t *testing.T, srv *devs3.Server) (Config, *faultproxy.Proxy) {
	t.Helper()
	cfg := config(t, srv)
	proxy := faultproxy.New(t, strings.TrimPrefix(srv.Endpoint(), "http://"))
	cfg.Client = client(t, srv.ClientAt("http://"+proxy.Addr()))
	return cfg, proxy
}

// without returns a copy of the Config whose client does not retry.
func withoutRetries(cfg Config) Config {
	cfg.Client = awss3.New(cfg.Client.Options(), func(o *awss3.Options) { o.Retryer = aws.NopRetryer{} })
	return cfg
}

// TestLostAnswers lets the server do what it is asked to, and loses its answer.
// The client asks again, and the condition that was met is met no more.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	srv := server(t, conditional(t))
	cfg, proxy := throughProxy(t, srv)
	s := newStore(t, cfg)
	if _, err := s.Capabilities(t.Context()); err != nil {
		t.Fatal(err)
	}
	lose := func() {
		proxy.CloseAll() // so that the next connection is the one to be struck
		proxy.Set(faultproxy.Once(faultproxy.Reset(faultproxy.Down, 0)))
	}
	struck := func(what string) {
		t.Helper()
		if proxy.Strikes() != 1 {
			t.Errorf("%s: no answer was lost", what)
		}
		proxy.Clear()
	}
	lose()
	v, err := s.Put(t.Context(), "name", []byte("1"), strings.NewReader("body 1"), backend.Condition{IfAbsent: true})
	if err != nil {
		t.Fatalf("Put if absent: %v", err)
	}
	struck("Put if absent")
	want(t, s, "name", v, "1", []byte("body 1"))

	// The first answers of these are to the looks before the change, so the change
	// is struck by what it sends: the answer to its request is the only one lost.
	for what, change := range map[string]func(s *Store) error{
		"Put if version": func(s *Store) (err error) {
			v, err = s.Put(t.Context(), "name", []byte("1"), strings.NewReader("body 1"), backend.Condition{IfVersion: v})
			return err
		},
		"SetHeader": func(s *Store) error {
			return errors.Join(
				s.SetHeader(t.Context(), backend.HeaderUpdate{Name: "name", Version: v, Old: []byte("1"), New: []byte("2")}),
				s.SetHeader(t.Context(), backend.HeaderUpdate{Name: "name", Version: v, Old: []byte("2"), New: []byte("1")}))
		},
		"large Put": func(s *Store) error {
			w, err := s.Put(t.Context(), "large", []byte("1"), onlyReader(payload(1, 9<<20)), backend.Condition{})
			if err == nil {
				want(t, s, "large", w, "1", payload(1, 9<<20))
			}
			return err
		},
		"Copy": func(s *Store) error {
			_, err := s.Copy(t.Context(), "copy", "name", v, []byte("1"), backend.Condition{})
			return errors.Join(err, s.Delete(t.Context(), "copy", backend.Condition{}))
		},
		"Delete": func(s *Store) error {
			return errors.Join(s.Delete(t.Context(), "large", backend.Condition{}))
		},
	} {
		cfg := cfg
		var w *wire
		cfg.Client, w = tap(t, cfg.Client)
		s := newStore(t, cfg)
		if _, err := s.Capabilities(t.Context()); err != nil {
			t.Fatal(err)
		}
		var lost atomic.Int32 // and those of repetitions, which are not lost
		w.mu.Lock()
		w.fault = func(r *http.Request, answer *http.Response) (*http.Response, error) {
			if operation(r) == "GetObject" || lost.Add(1)%2 == 0 {
				return answer, nil
			}
			answer.Body.Close()
			return nil, io.ErrUnexpectedEOF
		}
		w.mu.Unlock()
		if err := change(s); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if lost.Load() == 0 {
			t.Errorf("%s: no answer was lost", what)
		}
		want(t, s, "name", v, "1", []byte("body 1"))
	}
}

// TestBrokenGet cuts a body on its way.
func TestBrokenGet(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		cfg, proxy := throughProxy(t, srv)
		s := newStore(t, cfg)
		for _, size := range []int{100 << 10, 3 << 20, 9 << 20} {
			body := payload(size, size)
			v := mustPut(t, s, "name", "header", body)
			for _, after := range []int64{1000, 50 << 10, int64(size) / 3} {
				proxy.Set(faultproxy.Once(faultproxy.Cut(faultproxy.Down, after)))
				want(t, s, "name", v, "header", body)
				if proxy.Strikes() != 1 {
					t.Errorf("%d bytes: nothing was cut after %d", size, after)
				}
				proxy.Clear()
			}
			// Again and again: it must fail, and not as the end of the body.
			proxy.Set(faultproxy.Cut(faultproxy.Down, 50<<10))
			o, err := s.Get(t.Context(), "name", backend.All, v)
			if err == nil {
				var got []byte
				got, err = io.ReadAll(o.Body)
				o.Body.Close()
				if !bytes.HasPrefix(body, got) {
					t.Errorf("%d bytes: what came is not the beginning of the body", size)
				}
			}
			wantError(t, "Get", err, atrest.ErrUnavailable)
			proxy.Clear()
		}
	})
}

// TestReplacedWhileRead replaces an object before all of it was fetched.
func TestReplacedWhileRead(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		s := newStore(t, small(config(t, srv))) // two chunks are on their way, one is being read
		for what, change := range map[string]struct {
			do   func() error
			want error
		}{
			"longer":  {func() error { mustPut(t, s, "name", "2", payload(2, 26<<20)); return nil }, atrest.ErrConflict},
			"shorter": {func() error { mustPut(t, s, "name", "2", payload(2, 100)); return nil }, atrest.ErrConflict},
			"deleted": {func() error { return s.Delete(t.Context(), "name", backend.Condition{}) }, atrest.ErrNotFound},
		} {
			body := payload(1, 25<<20)
			mustPut(t, s, "name", "1", body)
			o, err := s.Get(t.Context(), "name", backend.All, "")
			if err != nil {
				t.Fatal(err)
			}
			begin := make([]byte, 1000)
			if _, err := io.ReadFull(o.Body, begin); err != nil {
				t.Fatal(err)
			}
			if err := change.do(); err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(o.Body)
			wantError(t, what, err, change.want)
			if !bytes.HasPrefix(body, append(begin, rest...)) {
				t.Errorf("%s: bytes of another object came", what)
			}
			o.Body.Close()
		}
	})
}

// TestAbortedByOthers aborts an upload between its last part and its completion.
// VersityGW says that it was completed, if any object is there.
func TestAbortedByOthers(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		for _, there := range []bool{true, false} {
			s := newStore(t, config(t, srv))
			if there {
				mustPut(t, s, "name", "old", []byte("old"))
			}
			cfg := s.cfg
			var w *wire
			cfg.Client, w = tap(t, cfg.Client)
			tapped := newStore(t, cfg)
			w.fault = func(r *http.Request, answer *http.Response) (*http.Response, error) {
				if r.URL.Query().Get("partNumber") == "2" {
					key, err := s.key("name")
					if err != nil {
						return nil, err
					}
					_, err = s.client.AbortMultipartUpload(r.Context(), &awss3.AbortMultipartUploadInput{
						Bucket: &cfg.Bucket, Key: &key, UploadId: aws.String(r.URL.Query().Get("uploadId")),
					})
					if err != nil {
						t.Logf("abort: %v", err) // the client tries the part again
					}
				}
				return answer, nil
			}
			_, err := tapped.Put(t.Context(), "name", nil, onlyReader(payload(1, 9<<20)), backend.Condition{})
			wantError(t, "Put whose upload was aborted", err, atrest.ErrUnavailable)
			if !strings.Contains(err.Error(), "aborted") && !strings.Contains(err.Error(), "removed with the upload") {
				t.Errorf("the error does not say what may have happened: %v", err)
			}
			if names := list(t, s, "", ""); there != (names == "name") {
				t.Errorf("listed are %q", names)
			}
		}
	})
}

// TestAbortedCutOff has the connection lost on each part of an upload that others
// have aborted. Only its own abort then tells what has happened.
func TestAbortedCutOff(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		s := newStore(t, config(t, srv))
		for _, aborted := range []bool{true, false} {
			cfg := withoutRetries(s.cfg)
			var w *wire
			cfg.Client, w = tap(t, cfg.Client)
			tapped := newStore(t, cfg)
			w.fault = func(r *http.Request, answer *http.Response) (*http.Response, error) {
				if operation(r) != "UploadPart" || r.URL.Query().Get("partNumber") != "1" {
					return answer, nil
				}
				if aborted {
					_, err := s.client.AbortMultipartUpload(r.Context(), &awss3.AbortMultipartUploadInput{
						Bucket: &cfg.Bucket, Key: aws.String(s.cfg.Prefix + "name!"), UploadId: aws.String(r.URL.Query().Get("uploadId")),
					})
					if err != nil {
						t.Errorf("abort: %v", err)
					}
				}
				answer.Body.Close()
				return nil, syscall.ECONNRESET
			}
			_, err := tapped.Put(t.Context(), "name", nil, onlyReader(payload(1, 9<<20)), backend.Condition{})
			wantError(t, "Put whose connection was lost", err, atrest.ErrUnavailable)
			if !errors.Is(err, syscall.ECONNRESET) || strings.Contains(err.Error(), "aborted") != aborted {
				t.Errorf("aborted by others: %t; the error says: %v", aborted, err)
			}
			if left := uploadsOf(t, srv, s, "name"); len(left) > 0 {
				t.Errorf("%q is left", left)
			}
		}
	})
}

// TestBodyPanics checks that the panic reaches the caller, and the upload goes.
func TestBodyPanics(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		s := newStore(t, small(config(t, srv)))
		for _, size := range []int{100, 6 << 20, 11 << 20} {
			begun := 0
			panics := readerFunc(func([]byte) (int, error) {
				begun = len(uploadsOf(t, srv, s, "name"))
				panic("as the test asks")
			})
			func() {
				defer func() {
					if p := recover(); p != "as the test asks" {
						t.Errorf("recovered %v", p)
					}
				}()
				_, err := s.Put(t.Context(), "name", nil, io.MultiReader(bytes.NewReader(payload(1, size)), panics), backend.Condition{})
				t.Errorf("Put returned %v", err)
			}()
			if left := uploadsOf(t, srv, s, "name"); len(left) > 0 {
				t.Errorf("%d bytes: %q is left", size, left)
			}
			if size > 2*minPart && begun != 1 {
				t.Errorf("%d bytes: %d uploads were seen under way; want 1", size, begun)
			}
		}
	})
}

// TestAbortFails kills the server in the midst of an upload.
func TestAbortFails(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		if srv.Kind() == devs3.External {
			t.Skip("an external server can't be killed")
		}
		srv = devs3.StartForTest(t, srv.Kind())
		bucket, err := srv.NewBucket(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		s := newStore(t, withoutRetries(Config{Client: client(t, srv.Client()), Bucket: bucket, Logger: slog.New(slog.NewTextHandler(&log, nil))}))
		v := mustPut(t, s, "name", "old", []byte("old"))
		kill := readerFunc(func([]byte) (int, error) { return 0, errors.Join(srv.Kill(), io.ErrUnexpectedEOF) })
		_, err = s.Put(t.Context(), "name", nil, io.MultiReader(bytes.NewReader(payload(1, 17<<20)), kill), backend.Condition{})
		if err == nil || !strings.Contains(err.Error(), "could not be aborted") || !strings.Contains(log.String(), "could not be aborted") {
			t.Errorf("error %v; log %q", err, &log)
		}
		_, err = s.Get(t.Context(), "name", backend.All, "")
		wantError(t, "Get of a server that is dead", err, atrest.ErrUnavailable)
		if err := srv.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		want(t, s, "name", v, "old", []byte("old"))
		if srv.Kind() == devs3.MinIO {
			return // see Sweep
		}
		if left := uploads(t, s); len(left) != 1 {
			t.Fatalf("%q is left", left)
		}
		for _, sweep := range []struct {
			olderThan int64
			want      int
		}{{1, 0}, {-1, 1}, {-1, 0}} {
			n, err := s.Sweep(t.Context(), time.Duration(sweep.olderThan)*time.Hour)
			if err != nil || n != sweep.want {
				t.Errorf("Sweep of what is older than %d h removed %d; want %d; error %v", sweep.olderThan, n, sweep.want, err)
			}
		}
	})
}

// TestFull fills the file system of the server.
func TestFull(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		if srv.Kind() == devs3.External {
			t.Skip("the disk of an external server can't be filled")
		}
		srv = devs3.StartForTestWith(t, devs3.Options{Kind: srv.Kind(), Dir: tinyfs.Mount(t, 32<<20)})
		bucket, err := srv.NewBucket(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s := newStore(t, withoutRetries(Config{Client: client(t, srv.Client()), Bucket: bucket}))
		old := payload(1, 1<<20)
		v := mustPut(t, s, "name", "old", old)
		// MinIO closes the connection on the rest of a part that it has no room for,
		// so that its answer may be lost.
		_, err = s.Put(t.Context(), "name", nil, onlyReader(payload(2, 40<<20)), backend.Condition{})
		if !errors.Is(err, atrest.ErrStorageFull) && !(srv.Kind() == devs3.MinIO && errors.Is(err, atrest.ErrUnavailable)) {
			t.Fatalf("large Put: error %v; want %q", err, atrest.ErrStorageFull)
		}
		for _, size := range []int{4 << 20, 100 << 10} {
			err = nil
			for i := 0; err == nil && i < 1000; i++ {
				_, err = s.Put(t.Context(), fmt.Sprint("filler", size, i), nil, bytes.NewReader(payload(2, size)), backend.Condition{})
			}
			t.Logf("until there was no room for %d bytes: %v", size, err)
		}
		wantError(t, "the last small Put", err, atrest.ErrStorageFull)
		for range 20 {
			if w, err := s.Put(t.Context(), "name", []byte("new"), bytes.NewReader(old), backend.Condition{}); err == nil {
				t.Fatalf("there is room for version %s", w)
			}
		}
		want(t, s, "name", v, "old", old)
		if left := uploads(t, s); len(left) > 0 {
			t.Errorf("%q is left", left)
		}
	})
}

// TestCancelledFinal ends the context while the last request is under way, in
// the mode that holds a lock meanwhile.
func TestCancelledFinal(t *testing.T) {
	t.Parallel()
	cfg := config(t, server(t, devs3.Kinds()[0]))
	cfg.SoleWriter = true
	var w *wire
	cfg.Client, w = tap(t, cfg.Client)
	s := newStore(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	var held atomic.Bool
	w.fault = func(r *http.Request, answer *http.Response) (*http.Response, error) {
		if operation(r) == "PutObject" && !held.Swap(true) {
			cancel()
			<-release
		}
		return answer, nil
	}
	_, err := s.Put(ctx, "name", nil, strings.NewReader("first"), backend.Condition{})
	wantError(t, "Put whose context ended", err, context.Canceled)
	second := make(chan error)
	go func() {
		_, err := s.Put(t.Context(), "name", nil, strings.NewReader("second"), backend.Condition{})
		second <- err
	}()
	select {
	case err := <-second:
		t.Errorf("the next Put did not wait for the first: %v", err)
	case <-t.Context().Done():
	default:
	}
	close(release)
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	want(t, s, "name", "", "", []byte("second"))
}
