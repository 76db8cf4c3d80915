package vaultclient

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	unencrypted "github.com/atrest/atrest/internal/plaintext"
)

// checkAddress returns what may be shown of the address of a Vault, scheme and
// host, if it is one to which secrets may be sent. A unix:// address is
// http://localhost by the time that it is here (ParseAddress of Vault's client).
func checkAddress(client *http.Client, address string, plaintextHosts []string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "", errors.New("the address of Config.Client is not a URL") // which may hold a password
	}
	if err := checkURL(u, plaintextHosts); err != nil {
		return "", err
	}
	return u.Scheme + "://" + u.Host, checkProxy(client, u, plaintextHosts)
}

func checkURL(u *url.URL, plaintextHosts []string) error {
	if u.Scheme == "https" {
		return nil
	}
	return unencrypted.Check(u.Hostname(), plaintextHosts)
}

// checkProxy looks at where a request to u really goes. A proxy (VAULT_PROXY_ADDR,
// http_proxy) only passes on what is encrypted by https://, but reads all else, also
// what is for this machine.
func checkProxy(client *http.Client, u *url.URL, plaintextHosts []string) error {
	transport, ok := client.Transport.(*http.Transport)
	if !ok || transport.Proxy == nil || u.Scheme == "https" {
		return nil
	}
	proxy, err := transport.Proxy(&http.Request{URL: u})
	if err != nil || proxy == nil {
		return nil // then no request is sent, or not to a proxy
	}
	if err := unencrypted.Check(proxy.Hostname(), plaintextHosts); err != nil {
		return fmt.Errorf("by way of a proxy: %w", err)
	}
	return nil
}

// checkRedirect refuses what Vault's client would follow otherwise, with the
// token and the body of the request: it only sees to it that https does not
// become http.
func checkRedirect(client *http.Client, resp *http.Response, plaintextHosts []string) error {
	if resp == nil || resp.StatusCode/100 != 3 {
		return nil
	}
	to, err := resp.Location()
	if err != nil { // none, or none that could be followed
		return nil
	}
	if err := checkURL(to, plaintextHosts); err != nil {
		return err
	}
	return checkProxy(client, to, plaintextHosts)
}

// ValidPath tells whether path, of a mount or of a request, without slashes at
// its ends, stays where it is put: below the path in front of it, and out of the
// query.
func ValidPath(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return !strings.ContainsFunc(path, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`?#%\`, r)
	})
}
