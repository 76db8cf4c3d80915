package s3

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/atrest/atrest/internal/devs3"
)

// urlSecret is what the tests put into URLs.
const urlSecret = "THESECRETOFTHEURL"

// TestEndpointRefused has endpoints that the SDK would quote in its errors, or of
// which it would leave out a part.
func TestEndpointRefused(t *testing.T) {
	for endpoint, good := range map[string]bool{
		"https://s3.example.com":      true,
		"http://127.0.0.1:9000/":      true,
		"http://[::1]:9000/some/path": true,

		"http://user:" + urlSecret + "@127.0.0.1:9000":     false,
		"http://user:" + urlSecret + " and more@127.0.0.1": false,
		"http://127.0.0.1:9000/?signature=" + urlSecret:    false,
		"http://127.0.0.1:9000/#" + urlSecret:              false,
		"ftp://127.0.0.1/" + urlSecret:                     false,
		"127.0.0.1:9000/" + urlSecret:                      false,
		urlSecret:                                          false,
		"https:///" + urlSecret:                            false,
		"":                                                 false,
	} {
		cfg := Config{Client: awss3.New(awss3.Options{BaseEndpoint: &endpoint}), Bucket: "b"}
		err := cfg.complete()
		if good != (err == nil) {
			t.Errorf("%s: error %v", endpoint, err)
		}
		if err != nil && (strings.Contains(err.Error(), urlSecret) || !strings.Contains(err.Error(), "BaseEndpoint")) {
			t.Errorf("%s: the error says too much or too little: %v", endpoint, err)
		}
	}
}

// TestRedirectedToSecret has redirections to URLs with a password and a signature,
// which are refused, not to be read, or where nobody answers.
func TestRedirectedToSecret(t *testing.T) {
	t.Parallel()
	srv := server(t, devs3.Kinds()[0])
	for _, scheme := range []string{"http://s3.example.com", "http://" + freeAddress(t), "https://" + freeAddress(t), "http://no host"} {
		location := strings.Replace(scheme, "//", "//user:"+urlSecret+"@", 1) + "/b?X-Amz-Signature=" + urlSecret
		for _, sdks := range []bool{false, true} {
			cfg := at(t, srv, serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", location)
				w.WriteHeader(http.StatusTemporaryRedirect)
			}))
			cfg = withoutRetries(cfg)
			if sdks {
				cfg.Client = sdkClient(cfg.Client)
			}
			_, err := New(t.Context(), cfg)
			if err == nil || strings.Contains(err.Error(), urlSecret) {
				t.Errorf("redirected to %s: error %v", location, err)
			}
			for cause := err; cause != nil; cause = errors.Unwrap(cause) {
				if failed, ok := cause.(*url.Error); ok && strings.Contains(failed.URL, urlSecret) {
					t.Errorf("the error holds %s", failed.URL)
				}
			}
		}
	}
}

// TestWithoutURL checks what is left of an error of net/http.
func TestWithoutURL(t *testing.T) {
	err := withoutURL(&url.Error{Op: "Get", URL: "https://user:" + urlSecret + "@s3.example.com:9000/b?c=" + urlSecret, Err: syscall.ECONNREFUSED})
	if text := err.Error(); text != `Get "https://s3.example.com:9000": connection refused` || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error(text)
	}
	err = withoutURL(&url.Error{Op: "Get", URL: "https://a b/" + urlSecret, Err: errors.New(`invalid proxy address "` + urlSecret + `"`)})
	if strings.Contains(err.Error(), urlSecret) {
		t.Error(err)
	}
	if err := withoutURL(nil); err != nil {
		t.Error(err)
	}
	if err := withoutURL(syscall.EPIPE); err != error(syscall.EPIPE) {
		t.Error(err)
	}
}
