package transit

import (
	"errors"
	"net/http"
	"net/url"

	unencrypted "github.com/atrest/atrest/internal/plaintext"
)

// checkAddress returns what may be shown of the address of a Vault, scheme and
// host, if it is one to which data keys may be sent. A unix:// address is
// http://localhost by the time that it is here (ParseAddress of Vault's client).
func checkAddress(address string, plaintextHosts []string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "", errors.New("the address of Config.Client is not a URL") // which may hold a password
	}
	return u.Scheme + "://" + u.Host, checkURL(u, plaintextHosts)
}

func checkURL(u *url.URL, plaintextHosts []string) error {
	if u.Scheme == "https" {
		return nil
	}
	return unencrypted.Check(u.Hostname(), plaintextHosts)
}

// checkRedirect refuses what Vault's client would follow otherwise, with the
// token and the body of the request: it only sees to it that https does not
// become http.
func checkRedirect(resp *http.Response, plaintextHosts []string) error {
	if resp == nil || resp.StatusCode/100 != 3 {
		return nil
	}
	to, err := resp.Location()
	if err != nil { // none, or none that could be followed
		return nil
	}
	return checkURL(to, plaintextHosts)
}
