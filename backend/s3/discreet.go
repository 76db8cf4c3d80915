package s3

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

// checkEndpoint refuses a BaseEndpoint that the SDK would refuse too, quoting it
// whole, or of which it would take no notice. Neither a password nor the query of
// a URL comes into an error.
func checkEndpoint(endpoint *string) error {
	if endpoint == nil {
		return nil // AWS
	}
	u, err := url.Parse(*endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("the client's BaseEndpoint is not https:// or http:// with a host, a port if need be, and a path if need be: it has no query, and the access key goes into the client's Credentials")
	}
	return nil
}

// A discreet client leaves out of its errors what may be secret in a URL, as the
// one that a request was redirected to may have a password or a signature.
type discreet struct{ awss3.HTTPClient }

func (d discreet) Do(r *http.Request) (*http.Response, error) {
	answer, err := d.HTTPClient.Do(r)
	return answer, withoutURL(err)
}

// quoting is how those errors of net/http begin that quote a URL, and have no type.
var quoting = []string{"failed to parse Location header", "invalid proxy address"}

// withoutURL leaves scheme and host of the URL that an error of net/http names.
func withoutURL(err error) error {
	failed, ok := errors.AsType[*url.Error](err)
	if !ok {
		return err
	}
	short := url.Error{Op: failed.Op, Err: failed.Err}
	if u, err := url.Parse(failed.URL); err == nil {
		short.URL = (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
	}
	for _, begin := range quoting {
		if strings.HasPrefix(failed.Err.Error(), begin) {
			short.Err = fmt.Errorf("%s, which is not shown, as there may be a secret in it", begin)
		}
	}
	return &short
}
