package vaultserver

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/atrest/atrest/internal/plaintext"
)

// timeouts are the parameters that a connection URL gets unless it has them:
// connect_timeout in seconds, of the driver, and statement_timeout in milliseconds, of
// the server. Vault's driver (pgconn, ParseConfig) passes to the server what it does not
// know itself. See Postgres for the values.
var timeouts = map[string]string{"connect_timeout": "10", "statement_timeout": "10000"}

// errNotURL does not say what was given: it may hold a password.
var errNotURL = errors.New("the connection URL is not one that begins with postgres:// or postgresql://")

func parsePostgresURL(connection string) (*url.URL, url.Values, error) {
	u, err := url.Parse(connection)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, nil, errNotURL
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, nil, errNotURL
	}
	return u, query, nil
}

func withTimeouts(connection string) (string, error) {
	u, query, err := parsePostgresURL(connection)
	if err != nil {
		return "", err
	}
	for name, value := range timeouts {
		if !query.Has(name) {
			query.Set(name, value)
		}
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// checkEncrypted returns ErrPlaintextConnection unless each host of the URL is reached
// by TLS for sure, is on this machine, or is allowed.
func checkEncrypted(connection string, allowed []string) error {
	u, query, err := parsePostgresURL(connection)
	if err != nil {
		return err
	}
	if query.Has("service") || query.Has("servicefile") {
		return errors.New("the connection URL names a service, and so not all of where it leads")
	}
	switch query.Get("sslmode") {
	case "require", "verify-ca", "verify-full":
		return nil
	}
	hosts := u.Hostname()
	if query.Has("host") {
		hosts = query.Get("host") // which the driver prefers
	}
	if hosts == "" {
		return nil // a socket of this machine, or localhost
	}
	for host := range strings.SplitSeq(hosts, ",") {
		if err := plaintext.Check(host, allowed); err != nil {
			return fmt.Errorf("%w: that is sslmode=verify-full in the connection URL, or Config.PlaintextHosts", err)
		}
	}
	return nil
}

// secrets lists what of the storage must not be seen, as it may be spelled.
func (s Storage) secrets() []string {
	connection := s.spec().settings["connection_url"]
	u, query, err := parsePostgresURL(connection)
	if err != nil {
		return nil
	}
	all := []string{connection}
	password, _ := u.User.Password()
	for _, secret := range []string{password, query.Get("password"), query.Get("sslpassword")} {
		if len(secret) < minRedacted {
			continue
		}
		_, encoded, _ := strings.Cut(url.UserPassword("", secret).String(), ":")
		all = append(all, secret, encoded, url.QueryEscape(secret), strings.Trim(fmt.Sprintf("%q", secret), `"`))
	}
	return all
}

// minRedacted is the length of the shortest password that is looked for on its own.
// A shorter one would be found in every other word.
const minRedacted = 4
