package s3

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/devs3"
)

// at returns the Config of a server whose endpoint is another.
func at(t *testing.T, srv *devs3.Server, endpoint string) Config {
	t.Helper()
	cfg := config(t, srv)
	cfg.Client = client(t, srv.ClientAt(endpoint))
	return cfg
}

// serve starts a server that no S3 server is like.
func serve(t *testing.T, h http.HandlerFunc) (endpoint string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// listError lists until there is an error, which it returns, or far too much.
func listError(t *testing.T, s *Store) (names []string, err error) {
	t.Helper()
	for e, err := range s.List(t.Context(), "", "") {
		if err != nil {
			return names, err
		}
		if names = append(names, e.Name); len(names) > 1000 {
			t.Fatalf("the listing goes on: %q", e.Name)
		}
	}
	return names, nil
}

// TestEndlessListing has a server whose listings lead back to where they were, at
// once or by a detour, with objects and without.
func TestEndlessListing(t *testing.T) {
	t.Parallel()
	for _, length := range []int{1, 2, 3, 7, 50} {
		for _, contents := range []string{"", "<Contents><Key>%sname!</Key><Size>1</Size></Contents>"} {
			var pages atomic.Int32
			cfg := at(t, server(t, devs3.Kinds()[0]), serve(t, func(w http.ResponseWriter, r *http.Request) {
				n := pages.Add(1)
				if r.URL.Query().Has("uploads") {
					fmt.Fprintf(w, "<ListMultipartUploadsResult><IsTruncated>%t</IsTruncated><NextKeyMarker>key</NextKeyMarker><NextUploadIdMarker>%d</NextUploadIdMarker></ListMultipartUploadsResult>",
						n < 1000, n%int32(length))
					return
				}
				page := contents
				if page != "" {
					page = fmt.Sprintf(contents, r.URL.Query().Get("prefix"))
				}
				fmt.Fprintf(w, "<ListBucketResult><IsTruncated>%t</IsTruncated><NextContinuationToken>%d</NextContinuationToken>%s</ListBucketResult>",
					n < 1000, n%int32(length), page)
			}))
			s := newStore(t, cfg)
			names, err := listError(t, s)
			wantError(t, "List", err, atrest.ErrUnsupported)
			if contents == "" && len(names) > 0 || contents != "" && len(names) != 1 {
				t.Errorf("listed are %q", names)
			}
			if pages.Load() >= 1000 {
				t.Errorf("a listing that comes back after %d pages is read to the end", length)
			}
			pages.Store(0)
			_, err = s.sweepUploads(t.Context(), time.Now())
			wantError(t, "sweep of uploads", err, atrest.ErrUnsupported)
			if contents != "" {
				continue
			}
			pages.Store(0)
			_, err = s.sweepProbes(t.Context(), time.Now())
			wantError(t, "sweep of probes", err, atrest.ErrUnsupported)
		}
	}
}

// TestCursor has listings that do not come back.
func TestCursor(t *testing.T) {
	c := cursor{maxEmpty: maxEmptyPages}
	for n := range 10_000 {
		if err := c.advance(fmt.Sprint(n), 1); err != nil {
			t.Fatalf("page %d: %v", n, err)
		}
	}
	wantError(t, "no mark", c.advance("", 1), atrest.ErrUnsupported)
	for n := range 3 * maxEmptyPages {
		entries := 0
		if n%maxEmptyPages == maxEmptyPages-1 {
			entries = 1
		}
		if err := c.advance(fmt.Sprint("sparse", n), entries); err != nil {
			t.Fatalf("sparse page %d: %v", n, err)
		}
	}
	for n := range maxEmptyPages - 1 {
		if err := c.advance(fmt.Sprint("empty", n), 0); err != nil {
			t.Fatalf("empty page %d: %v", n, err)
		}
	}
	wantError(t, "nothing for too long", c.advance("another", 0), atrest.ErrUnsupported)
}

// TestEmptyPages has a server whose listings go on with nothing on each page, and
// with another mark each time.
func TestEmptyPages(t *testing.T) {
	t.Parallel()
	const limit = 100
	var pages atomic.Int32
	cfg := at(t, server(t, devs3.Kinds()[0]), serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := pages.Add(1)
		if r.URL.Query().Has("uploads") {
			fmt.Fprintf(w, "<ListMultipartUploadsResult><IsTruncated>%t</IsTruncated><NextKeyMarker>%d</NextKeyMarker></ListMultipartUploadsResult>", n <= limit, n)
			return
		}
		fmt.Fprintf(w, "<ListBucketResult><IsTruncated>%t</IsTruncated><NextContinuationToken>%d</NextContinuationToken></ListBucketResult>", n <= limit, n)
	}))
	cfg.maxEmptyPages = limit
	s := newStore(t, cfg)
	for what, list := range map[string]func() error{
		"List":             func() error { _, err := listError(t, s); return err },
		"sweep of uploads": func() error { _, err := s.sweepUploads(t.Context(), time.Now()); return err },
		"sweep of probes":  func() error { _, err := s.sweepProbes(t.Context(), time.Now()); return err },
	} {
		pages.Store(0)
		wantError(t, what, list(), atrest.ErrUnsupported)
		if pages.Load() != limit {
			t.Errorf("%s: %d pages were read; want %d", what, pages.Load(), limit)
		}
	}
}

// TestWrongListing has listings of real servers altered on their way.
func TestWrongListing(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		for what, test := range map[string]struct {
			old, new string
			want     error
		}{
			"negative size": {"<Size>4</Size>", "<Size>-4</Size>", atrest.ErrTampered},
			"no size":       {"<Size>4</Size>", "", atrest.ErrTampered},
			"out of order":  {"a1!", "a9!", atrest.ErrUnsupported},
			"twice":         {"a1!", "a2!", atrest.ErrUnsupported},
			"end unknown":   {"<IsTruncated>false</IsTruncated>", "", atrest.ErrStorageMissing},
		} {
			s, altered := tampered(t, srv, false, func(_ *Store, r *http.Request, answer *http.Response) {
				if operation(r) != "ListObjectsV2" {
					return
				}
				page, err := io.ReadAll(answer.Body)
				text := strings.ReplaceAll(string(page), "%21", "!")
				if err != nil || !strings.Contains(text, test.old) {
					t.Errorf("%s: the listing is %s, error %v", what, page, err)
				}
				replace(answer, 200, strings.Replace(text, test.old, test.new, 1))
			})
			mustPut(t, s, "a1", "header", []byte("body"))
			mustPut(t, s, "a2", "header", []byte("body"))
			_, err := listError(t, altered)
			wantError(t, what, err, test.want)
		}
	})
}

// TestNegativeHead has an empty object said to have less than nothing.
func TestNegativeHead(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		s, altered := tampered(t, srv, true, func(_ *Store, r *http.Request, answer *http.Response) {
			if r.Method == http.MethodHead {
				answer.Header.Set("Content-Length", "-1")
			}
		})
		v := mustPut(t, s, "name", "header", nil)
		want(t, s, "name", v, "header", nil)
		for _, rng := range []backend.Range{{}, backend.All} {
			_, err := altered.Get(t.Context(), "name", rng, "")
			wantError(t, "Get", err, atrest.ErrTampered)
		}
	})
}

const page = `<!DOCTYPE html><html><head><title>Welcome</title></head><body><p>Not what you look for.<br></body></html>`

// TestNotS3 opens stores at servers that do not speak S3.
func TestNotS3(t *testing.T) {
	t.Parallel()
	for what, answer := range map[string]http.HandlerFunc{
		"not found": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, page, http.StatusNotFound) },
		"not found, XHTML": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html><body/></html>", http.StatusNotFound)
		},
		"nothing found": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"a page":        func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, page) },
		"XHTML":         func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html><body/></html>") },
		"nothing":       func(http.ResponseWriter, *http.Request) {},
		"JSON":          func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"error": "no"}`) },
		"elsewhere":     func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
	} {
		_, err := New(t.Context(), at(t, server(t, devs3.Kinds()[0]), serve(t, answer)))
		wantError(t, what, err, atrest.ErrStorageMissing)
		if err != nil && !strings.Contains(err.Error(), "does not speak S3") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestForeign404 has something in front of the server answer that it finds nothing.
// That must be taken neither for an object that is missing nor for one that is
// deleted.
func TestForeign404(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		for what, body := range map[string]string{
			"page":           page,
			"nothing":        "",
			"another code":   "<Error><Code>NoSuchAccessPoint</Code><Message>no</Message></Error>",
			"status as code": "<Error><Code>NotFound</Code><Message>Not Found</Message></Error>",
			"no bucket":      "<Error><Code>NoSuchBucket</Code><Message>no</Message></Error>",
		} {
			for _, sole := range []bool{false, true} {
				s, altered := tampered(t, srv, sole, func(_ *Store, r *http.Request, answer *http.Response) {
					replace(answer, http.StatusNotFound, body)
				})
				v := mustPut(t, s, "name", "header", []byte("body"))
				calls := map[string]func() error{
					"Get":    func() error { _, err := altered.Get(t.Context(), "name", backend.All, ""); return err },
					"header": func() error { _, err := altered.Get(t.Context(), "name", backend.Range{}, ""); return err },
					"List":   func() error { _, err := listError(t, altered); return err },
					"Put": func() error {
						_, err := altered.Put(t.Context(), "other", nil, strings.NewReader("x"), backend.Condition{})
						return err
					},
					"Copy": func() error {
						_, err := altered.Copy(t.Context(), "copy", "name", v, nil, backend.Condition{})
						return err
					},
					"Delete": func() error { return altered.Delete(t.Context(), "name", backend.Condition{}) },
				}
				if sole {
					calls["Delete if version"] = func() error { return altered.Delete(t.Context(), "name", backend.Condition{IfVersion: v}) }
					calls["SetHeader"] = func() error {
						return altered.SetHeader(t.Context(), backend.HeaderUpdate{Name: "name", Version: v, Old: []byte("header")})
					}
				}
				for call, f := range calls {
					wantError(t, call+", "+what, f(), atrest.ErrStorageMissing)
				}
			}
		}
	})
}

// TestHead404 has a HEAD, which can't say what it does not find, answered so for an
// object that is there.
func TestHead404(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		var heads atomic.Int32
		s, altered := tampered(t, srv, false, func(_ *Store, r *http.Request, answer *http.Response) {
			if r.Method == http.MethodHead && heads.Add(1) == 1 {
				replace(answer, http.StatusNotFound, "")
			}
		})
		v := mustPut(t, s, "name", "header", nil)
		want(t, altered, "name", v, "header", nil)
		if heads.Load() != 2 {
			t.Errorf("%d HEADs were sent; want 2", heads.Load())
		}
		_, err := altered.Get(t.Context(), "other", backend.Range{}, "")
		wantError(t, "Get of what is not there", err, atrest.ErrNotFound)
	})
}

// TestMissingBucketLater removes the bucket of a Store.
func TestMissingBucketLater(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		if srv.Kind() == devs3.External {
			t.Skip("the bucket of an external server stays")
		}
		cfg := config(t, srv)
		var err error
		if cfg.Bucket, err = srv.NewBucket(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := newStore(t, cfg)
		if _, err := cfg.Client.DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: &cfg.Bucket}); err != nil {
			t.Fatal(err)
		}
		_, err = s.Get(t.Context(), "name", backend.All, "")
		wantError(t, "Get", err, atrest.ErrStorageMissing)
		_, err = s.Put(t.Context(), "name", nil, strings.NewReader("x"), backend.Condition{})
		wantError(t, "Put", err, atrest.ErrStorageMissing)
		wantError(t, "Delete", s.Delete(t.Context(), "name", backend.Condition{}), atrest.ErrStorageMissing)
	})
}

// sdkClient returns the client with an HTTP client of the SDK's own.
func sdkClient(c *awss3.Client) *awss3.Client {
	return awss3.New(c.Options(), func(o *awss3.Options) {
		o.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.IdleConnTimeout = 100 * time.Millisecond // nobody can close them
		})
	})
}

// TestSDKClientRedirected has the SDK's own HTTP client sent elsewhere by 307, which
// it follows.
func TestSDKClientRedirected(t *testing.T) {
	t.Parallel()
	srv := server(t, devs3.Kinds()[0])
	open := func(t *testing.T, location string) (requests int32, err error) {
		var n atomic.Int32
		cfg := at(t, srv, serve(t, func(w http.ResponseWriter, r *http.Request) {
			n.Add(1)
			http.Redirect(w, r, location+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		}))
		cfg.Client = sdkClient(cfg.Client)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err = New(ctx, cfg)
		return n.Load(), err
	}
	t.Run("off the machine", func(t *testing.T) {
		_, err := open(t, "http://s3.example.com:9000")
		wantError(t, "New", err, atrest.ErrPlaintextConnection)
	})
	t.Run("on the machine", func(t *testing.T) {
		// The server is asked, and refuses a signature for another host.
		_, err := open(t, srv.Endpoint())
		wantError(t, "New", err, atrest.ErrPermission)
	})
	t.Run("in a circle", func(t *testing.T) {
		requests, err := open(t, "")
		wantError(t, "New", err, atrest.ErrStorageMissing)
		if requests > maxRedirects+1 {
			t.Errorf("%d requests were sent", requests)
		}
	})
	t.Run("not at all", func(t *testing.T) {
		cfg := config(t, srv)
		cfg.Client = sdkClient(cfg.Client)
		s := newStore(t, cfg)
		v := mustPut(t, s, "name", "header", payload(1, 100))
		want(t, s, "name", v, "header", payload(1, 100))
	})
}
