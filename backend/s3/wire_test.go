package s3

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

// A wire passes requests on and remembers them, without bodies.
type wire struct {
	next http.RoundTripper

	mu       sync.Mutex
	requests []*http.Request
	// fault, if set, may replace an answer.
	fault func(r *http.Request, answer *http.Response) (*http.Response, error)
}

// tap returns a copy of the client whose requests go through a wire.
func tap(tb testing.TB, c *awss3.Client) (*awss3.Client, *wire) {
	tb.Helper()
	w := &wire{next: c.Options().HTTPClient.(*http.Client).Transport}
	return awss3.New(c.Options(), func(o *awss3.Options) { o.HTTPClient = &http.Client{Transport: w} }), w
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.requests = append(w.requests, r)
	fault := w.fault
	w.mu.Unlock()
	answer, err := w.next.RoundTrip(r)
	if err == nil && fault != nil {
		return fault(r, answer)
	}
	return answer, err
}

// take returns what was sent since it was called last, such as "PutObject GetObject".
func (w *wire) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for _, r := range w.requests {
		names = append(names, operation(r))
	}
	w.requests = nil
	return strings.Join(names, " ")
}

// operation returns the name of an operation, as far as the tests need it.
func operation(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case q.Get("x-id") != "":
		return q.Get("x-id")
	case q.Has("uploads") && r.Method == http.MethodPost:
		return "CreateMultipartUpload"
	case q.Has("uploadId") && r.Method == http.MethodPost:
		return "CompleteMultipartUpload"
	case q.Get("list-type") == "2":
		return "ListObjectsV2"
	}
	return r.Method
}

// headersOf returns a header of each request of an operation.
func (w *wire) headersOf(op, name string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var values []string
	for _, r := range w.requests {
		if operation(r) == op {
			values = append(values, r.Header.Get(name))
		}
	}
	return values
}
