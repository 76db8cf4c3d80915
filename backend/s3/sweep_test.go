package s3

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/devs3"
)

// TestSweepProbes removes the objects of probes that died, and nothing else.
func TestSweepProbes(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		s := newStore(t, config(t, srv))
		v := mustPut(t, s, "probe-x", "header", []byte("body"))
		plant(t, s, s.cfg.Prefix+probePrefix+"DEAD!", nil, "probe")
		plant(t, s, s.cfg.Prefix+"foreign", nil, "foreign")
		if n, err := s.Sweep(t.Context(), time.Hour); err != nil || n != 0 {
			t.Errorf("Sweep of old things removed %d, error %v", n, err)
		}
		if n, err := s.Sweep(t.Context(), -time.Hour); err != nil || n != 1 {
			t.Errorf("Sweep removed %d, error %v", n, err)
		}
		want(t, s, "probe-x", v, "header", []byte("body"))
	})
}

// TestSweepForeign has the listing of probes answered with other keys, as by
// something on the way that drops the prefix, and without a time. None may be removed.
func TestSweepForeign(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		const old = "<LastModified>2020-01-01T00:00:00.000Z</LastModified>"
		for what, test := range map[string]struct {
			key, modified string
			want          int
		}{
			"an object":                {"name!", old, 0},
			"a probe":                  {probePrefix + "DEAD!", old, 1},
			"a probe without a time":   {probePrefix + "DEAD!", "", 0},
			"a key of somebody else":   {"foreign", old, 0},
			"an object without a time": {"name!", "", 0},
		} {
			s, altered := tampered(t, srv, false, func(s *Store, r *http.Request, answer *http.Response) {
				if operation(r) == "ListObjectsV2" {
					replace(answer, 200, fmt.Sprintf("<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>%s</Key>%s<Size>4</Size></Contents></ListBucketResult>",
						s.cfg.Prefix+test.key, test.modified))
				}
			})
			v := mustPut(t, s, "name", "header", []byte("body"))
			plant(t, s, s.cfg.Prefix+"foreign", nil, "foreign")
			if n, err := altered.Sweep(t.Context(), time.Hour); err != nil || n != test.want {
				t.Errorf("%s: Sweep removed %d, error %v; want %d", what, n, err, test.want)
			}
			want(t, s, "name", v, "header", []byte("body"))
			if _, err := s.client.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: &s.cfg.Bucket, Key: aws.String(s.cfg.Prefix + "foreign")}); err != nil {
				t.Errorf("%s: the object of somebody else: %v", what, err)
			}
		}
	})
}

// TestSweepTimeless has an upload listed without the time when it was begun, which
// may be one that is under way.
func TestSweepTimeless(t *testing.T) {
	t.Parallel()
	var aborts atomic.Int32
	initiated := ""
	var s *Store
	s = newStore(t, at(t, server(t, devs3.Kinds()[0]), serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodDelete:
			aborts.Add(1)
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Query().Has("uploads"):
			fmt.Fprintf(w, "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload><Key>%sname!</Key><UploadId>1</UploadId>%s</Upload></ListMultipartUploadsResult>",
				s.cfg.Prefix, initiated)
		default:
			io.WriteString(w, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
		}
	})))
	for i, text := range []string{"", "<Initiated>2020-01-01T00:00:00.000Z</Initiated>"} {
		initiated = text
		if n, err := s.Sweep(t.Context(), time.Hour); err != nil || n != i || int(aborts.Load()) != i {
			t.Errorf("begun %q: Sweep removed %d with %d requests, error %v; want %d", text, n, aborts.Load(), err, i)
		}
	}
}

// TestCancelledBegin ends the context after the server has begun an upload, and before
// its answer is here: the upload goes nevertheless.
func TestCancelledBegin(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		s := newStore(t, config(t, srv))
		cfg := s.cfg
		var w *wire
		cfg.Client, w = tap(t, cfg.Client)
		tapped := newStore(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		begun := false
		w.fault = func(r *http.Request, answer *http.Response) (*http.Response, error) {
			if operation(r) == "CreateMultipartUpload" {
				begun = true
				cancel()
				time.Sleep(50 * time.Millisecond) // Put has been told by now, or soon
			}
			return answer, nil
		}
		_, err := tapped.Put(ctx, "name", nil, onlyReader(payload(1, 9<<20)), backend.Condition{})
		wantError(t, "Put", err, context.Canceled)
		if !begun {
			t.Error("no upload was begun")
		}
		if left := uploadsOf(t, srv, s, "name"); len(left) > 0 {
			t.Errorf("%q is left", left)
		}
	})
}
