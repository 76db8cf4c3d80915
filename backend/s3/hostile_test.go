package s3

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/devs3"
	"github.com/atrest/atrest/internal/faultproxy"
)

// tampered returns a Store on the server and, through another client, one whose
// answers are altered. That one knows the server's capabilities.
func tampered(t *testing.T, srv *devs3.Server, sole bool, fault func(s *Store, r *http.Request, answer *http.Response)) (s, altered *Store) {
	t.Helper()
	cfg := config(t, srv)
	cfg.SoleWriter = sole
	s = newStore(t, cfg)
	var w *wire
	cfg.Client, w = tap(t, cfg.Client)
	altered = probed(t, srv, cfg)
	w.fault = func(r *http.Request, answer *http.Response) (*http.Response, error) {
		fault(s, r, answer)
		return answer, nil
	}
	return s, altered
}

// replace makes another answer of one.
func replace(answer *http.Response, status int, body string) {
	answer.Body.Close()
	answer.StatusCode, answer.Status = status, http.StatusText(status)
	answer.Body, answer.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	answer.Header.Del("Content-Length")
}

// TestCancelledUpload ends the context while the body is read.
func TestCancelledUpload(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		s := newStore(t, small(config(t, srv)))
		ctx, cancel := context.WithCancel(t.Context())
		end := readerFunc(func([]byte) (int, error) { cancel(); return 0, ctx.Err() })
		_, err := s.Put(ctx, "name", nil, io.MultiReader(strings.NewReader(string(payload(1, 11<<20))), end), backend.Condition{})
		wantError(t, "Put whose context ended", err, context.Canceled)
		if left := uploadsOf(t, srv, s, "name"); len(left) > 0 {
			t.Errorf("%q is left", left)
		}
	})
}

// TestNoUploadID has no id in the answer, as when something in front of the server
// answers in its place. The object must not become that of an upload without one.
func TestNoUploadID(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		var later atomic.Bool
		s, altered := tampered(t, srv, false, func(_ *Store, r *http.Request, answer *http.Response) {
			switch {
			case operation(r) == "CreateMultipartUpload":
				replace(answer, 200, "")
			case r.URL.Query().Has("uploadId"):
				later.Store(true)
			}
		})
		v := mustPut(t, s, "name", "header", []byte("body"))
		_, err := altered.Put(t.Context(), "name", nil, onlyReader(payload(1, 9<<20)), backend.Condition{})
		wantError(t, "Put", err, atrest.ErrUnavailable)
		if later.Load() {
			t.Error("a request names an upload without an id")
		}
		want(t, s, "name", v, "header", []byte("body"))
	})
}

// TestPartsRefused has the ETag of a part altered on its way, so that the server
// refuses to complete the upload. Nobody has aborted anything.
func TestPartsRefused(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		s, altered := tampered(t, srv, false, func(_ *Store, r *http.Request, answer *http.Response) {
			if operation(r) == "UploadPart" {
				answer.Header.Set("ETag", wrongETag)
			}
		})
		v := mustPut(t, s, "name", "header", []byte("body"))
		_, err := altered.Put(t.Context(), "name", nil, onlyReader(payload(1, 9<<20)), backend.Condition{})
		wantError(t, "Put", err, atrest.ErrUnavailable)
		if !strings.Contains(err.Error(), "does not have the parts") || strings.Contains(err.Error(), "aborted") {
			t.Errorf("the error says what is not known: %v", err)
		}
		want(t, s, "name", v, "header", []byte("body"))
		if left := uploadsOf(t, srv, s, "name"); len(left) > 0 {
			t.Errorf("%q is left", left)
		}
	})
}

// TestNoETag replaces the object between the look and the change: without an ETag
// there is no condition that could prevent the change.
func TestNoETag(t *testing.T) {
	t.Parallel()
	var v backend.Version
	var looks atomic.Int32
	s, altered := tampered(t, server(t, conditional(t)), false, func(s *Store, r *http.Request, answer *http.Response) {
		if operation(r) != "GetObject" {
			return
		}
		answer.Header.Del("ETag")
		if looks.Add(1) == 2 {
			v = mustPut(t, s, "name", "theirs", []byte("theirs"))
		}
	})
	first := mustPut(t, s, "name", "header", []byte("body"))
	_, err := altered.Put(t.Context(), "name", []byte("mine"), strings.NewReader("mine"), backend.Condition{IfVersion: first})
	wantError(t, "Put", err, atrest.ErrUnsupported)
	want(t, s, "name", v, "theirs", []byte("theirs"))
	_, err = altered.Copy(t.Context(), "copy", "name", v, nil, backend.Condition{})
	wantError(t, "Copy", err, atrest.ErrUnsupported)
}

// TestRedirected has something in front of the server that sends everybody to a
// page of its own, as gateways do that want a login.
func TestRedirected(t *testing.T) {
	t.Parallel()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "log in") }))
	defer page.Close()
	var on atomic.Bool
	s, altered := tampered(t, server(t, devs3.Kinds()[0]), false, func(_ *Store, r *http.Request, answer *http.Response) {
		if on.Load() && r.URL.Host != strings.TrimPrefix(page.URL, "http://") {
			replace(answer, http.StatusFound, "")
			answer.Header.Set("Location", page.URL)
		}
	})
	v := mustPut(t, s, "name", "header", []byte("body"))
	on.Store(true)
	if _, err := altered.Put(t.Context(), "other", nil, strings.NewReader("x"), backend.Condition{}); err == nil {
		t.Error("Put succeeded")
	}
	if _, err := altered.Get(t.Context(), "name", backend.All, v); err == nil {
		t.Error("Get succeeded")
	}
	for e, err := range altered.List(t.Context(), "", "") {
		if err == nil {
			t.Errorf("List has %q", e.Name)
		}
	}
}

// TestCloseStalled closes a body whose first bytes have come, and no more.
func TestCloseStalled(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		cfg, proxy := throughProxy(t, srv)
		s := newStore(t, cfg)
		v := mustPut(t, s, "name", "header", payload(1, 7<<20))
		proxy.CloseAll()
		proxy.Set(faultproxy.Blackhole(faultproxy.Down, 1<<20))
		o, err := s.Get(t.Context(), "name", backend.All, v)
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() { closed <- o.Body.Close() }()
		select {
		case err := <-closed:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Close waits for what does not come")
			proxy.CloseAll()
		}
	})
}

// TestContradictions has a server that never gives a range of what is there.
func TestContradictions(t *testing.T) {
	t.Parallel()
	s, altered := tampered(t, server(t, devs3.Kinds()[0]), false, func(_ *Store, r *http.Request, answer *http.Response) {
		if operation(r) == "GetObject" {
			replace(answer, http.StatusRequestedRangeNotSatisfiable, "")
		}
	})
	mustPut(t, s, "name", "header", []byte("body"))
	for _, rng := range []backend.Range{{}, backend.All} {
		_, err := altered.Get(t.Context(), "name", rng, "")
		wantError(t, "Get", err, atrest.ErrUnavailable)
	}
}

// TestWrongSizes has a server that says that there are more bytes than any object
// has, or does not say how many it sends.
func TestWrongSizes(t *testing.T) {
	t.Parallel()
	for _, size := range []string{"9223372036854775807", "4611686018427387904", ""} {
		s, altered := tampered(t, server(t, devs3.Kinds()[0]), true, func(_ *Store, r *http.Request, answer *http.Response) {
			switch {
			case operation(r) != "GetObject":
			case size != "":
				answer.Header.Set("Content-Range", "bytes 0-0/"+size)
			default:
				answer.StatusCode, answer.ContentLength = 200, -1
				answer.Header.Del("Content-Range")
				answer.Header.Del("Content-Length")
			}
		})
		v := mustPut(t, s, "name", "header", []byte("body"))
		_, err := altered.Copy(t.Context(), "copy", "name", v, nil, backend.Condition{})
		if size != "" {
			wantError(t, "Copy", err, atrest.ErrTooLarge)
			continue
		}
		wantError(t, "Copy", err, atrest.ErrUnsupported)
		_, err = altered.Get(t.Context(), "name", backend.All, v)
		wantError(t, "Get", err, atrest.ErrUnsupported)
	}
}

// TestPartialUnnamed has ranges answered with status 206 and without a word on which
// they are. None may be taken for the whole object.
func TestPartialUnnamed(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		var struck atomic.Int32
		s, altered := tampered(t, srv, false, func(_ *Store, r *http.Request, answer *http.Response) {
			if answer.StatusCode == http.StatusPartialContent {
				struck.Add(1)
				answer.Header.Del("Content-Range")
			}
		})
		mustPut(t, s, "name", "header", payload(1, 20))
		for _, rng := range []backend.Range{{}, {Length: 5}, backend.All} {
			_, err := altered.Get(t.Context(), "name", rng, "")
			wantError(t, "Get", err, atrest.ErrUnsupported)
		}
		if struck.Load() != 3 {
			t.Errorf("%d answers were altered; want 3", struck.Load())
		}
	})
}

// TestWholeUnasked has all of an object with status 200 where a range was asked for,
// as servers may answer that know no ranges.
func TestWholeUnasked(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		s, altered := tampered(t, srv, false, func(_ *Store, r *http.Request, answer *http.Response) {
			if answer.StatusCode == http.StatusPartialContent {
				answer.StatusCode, answer.Status = http.StatusOK, "200 OK"
				answer.Header.Del("Content-Range")
			}
		})
		v := mustPut(t, s, "name", "header", payload(1, 20))
		want(t, altered, "name", v, "header", payload(1, 20))
	})
}

// TestProbeFails has a failure during the probe that comes with status 400, as
// answers to unknown headers do. It must not be taken for a lasting property of the
// server.
func TestProbeFails(t *testing.T) {
	t.Parallel()
	cfg := config(t, server(t, devs3.Kinds()[0]))
	var w *wire
	cfg.Client, w = tap(t, cfg.Client)
	s := newStore(t, cfg)
	var struck atomic.Bool
	w.fault = func(r *http.Request, answer *http.Response) (*http.Response, error) {
		if operation(r) == "CopyObject" && !struck.Swap(true) {
			replace(answer, 400, "<Error><Code>ExpiredToken</Code></Error>")
		}
		return answer, nil
	}
	_, err := s.Capabilities(t.Context())
	wantError(t, "Capabilities", err, atrest.ErrPermission)
	if caps, err := s.Capabilities(t.Context()); err != nil || !caps.CopySource {
		t.Errorf("afterwards: %+v, error %v", caps, err)
	}
}

// TestConcurrentChange has the answer of AWS to a change that another one, here a
// deletion, has crossed. It does not mean that there is an object.
func TestConcurrentChange(t *testing.T) {
	t.Parallel()
	var struck atomic.Bool
	_, altered := tampered(t, server(t, conditional(t)), false, func(s *Store, r *http.Request, answer *http.Response) {
		if operation(r) == "PutObject" && !struck.Swap(true) {
			if err := s.Delete(r.Context(), "name", backend.Condition{}); err != nil {
				t.Error(err)
			}
			replace(answer, http.StatusConflict, "<Error><Code>ConditionalRequestConflict</Code></Error>")
		}
	})
	v, err := altered.Put(t.Context(), "name", []byte("header"), strings.NewReader("body"), backend.Condition{IfAbsent: true})
	if err != nil {
		t.Fatal(err)
	}
	want(t, altered, "name", v, "header", []byte("body"))
}
