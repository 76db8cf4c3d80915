package vaultclient

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/atrest/atrest"
)

// ErrNotFound means that Vault has nothing at that path: no such object, or, for
// [MethodList], an empty list. A path that does not exist as such, because nothing
// is mounted there, is a [*RefusedError] of status 404.
var ErrNotFound = errors.New("vault has nothing at that path")

// RefusedError means that Vault refused the request for what it says, rather than
// for who asked.
type RefusedError struct {
	Status int    // of HTTP
	Text   string // what [Redact] leaves of Vault's reason
}

// Error returns the status and the text.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("refused by Vault with status %d: %s", e.Status, e.Text)
}

// refusal sorts an error answer of Vault's, by its status and, where one
// status has several meanings, by its text. The texts are those of Vault 1.13
// and of OpenBao.
func (c *Client) refusal(r Request, a *answer, texts []string) error {
	text := strings.TrimSpace(strings.Join(texts, "; "))
	if r.Refused != nil {
		if err := r.Refused(a.status, text); err != nil {
			return err
		}
	}
	switch a.status {
	case http.StatusForbidden:
		return c.forbidden(r, a, text)
	case http.StatusNotFound:
		if text == "" {
			return fmt.Errorf("%w: %q", ErrNotFound, r.Path)
		}
		return &RefusedError{a.status, Redact(text)}
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		return &RefusedError{a.status, Redact(text)}
	case http.StatusServiceUnavailable:
		// consts.ErrSealed, "Vault is sealed", which is also what one that is
		// not initialised answers. Other causes of 503 pass.
		if strings.Contains(text, "is sealed") {
			return atrest.ErrVaultSealed
		}
	case http.StatusNotImplemented:
		return fmt.Errorf("%w (not initialised)", atrest.ErrVaultSealed)
	}
	return unavailable(a, Redact(text))
}

// forbidden says what is missing.
func (c *Client) forbidden(r Request, a *answer, text string) error {
	switch {
	case r.Capability == "": // then neither a token nor a policy
		return fmt.Errorf("%w: refused at %q: %s", atrest.ErrPermission, r.Path, Redact(text))
	case a.anonymous && c.token != nil:
		return fmt.Errorf("%w: there is no token, which %q on %q needs: log in before", atrest.ErrPermission, r.Capability, r.Path)
	case a.anonymous:
		return fmt.Errorf("%w: the client has no token: log in and set one, or set VAULT_TOKEN, before the request", atrest.ErrPermission)
	}
	return fmt.Errorf("%w: the policy of the token in use must grant %q on %q, and the token must not have expired",
		atrest.ErrPermission, r.Capability, r.Path)
}

// notVault is the error for an answer that is not Vault's protocol: from a
// proxy, a load balancer, or another service.
func notVault(a *answer) error { return unavailable(a, "not an answer of Vault's") }

// unavailable is the error for an answer of no use. It may pass if the status
// says so: 412 is a node that has yet to catch up, 429 a rate limit.
func unavailable(a *answer, why string) error {
	return &failure{
		err:       fmt.Errorf("%w: answered with status %d: %s", atrest.ErrVaultUnavailable, a.status, why),
		transient: a.status >= 500 || a.status == http.StatusTooManyRequests || a.status == http.StatusPreconditionFailed,
		after:     a.retryAfter,
	}
}

// Garbage is the error for an answer that has Vault's form but makes no sense, as
// what says. It wraps atrest.ErrVaultUnavailable, and is not tried again.
func Garbage(what string) error {
	return fmt.Errorf("%w: answered garbage: %s", atrest.ErrVaultUnavailable, what)
}

// unreachable is the error for a connection that could not be made or broke.
// It has err's text only: dial timeouts claim to be context.DeadlineExceeded
// (net.timeoutError), which is for the caller's deadline.
func unreachable(err error) error {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the URL, which says what the caller knows
	}
	return &failure{
		err:       fmt.Errorf("%w: %s", atrest.ErrVaultUnavailable, Redact(err.Error())),
		transient: !untrusted,
	}
}

// secretLooking is what a token, a data key, a wrapped key or the secret id of a
// login would look like in a text that came from elsewhere: a run of base64 or base64url, a
// token, which has one of Vault's prefixes, or a UUID.
var secretLooking = regexp.MustCompile(`[A-Za-z0-9+/=_-]{24,}|\b(hv)?[sbr]\.\S+|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}`)

// Redact makes a foreign text fit for an error message: short, quoted, on one line,
// and without JSON or anything that looks like a secret, should it echo the
// request.
func Redact(text string) string {
	text, _, _ = strings.Cut(text, "{")
	text = strings.Join(strings.Fields(text), " ")
	text = secretLooking.ReplaceAllString(text, redacted)
	return fmt.Sprintf("%.300q", text)
}
