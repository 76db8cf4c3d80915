package transit

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

// refusal sorts an error answer of Vault's, by its status and, where one
// status has several meanings, by its text. The texts are those of Vault 1.13
// and of OpenBao.
func refusal(r request, a *answer, texts []string) error {
	text := strings.TrimSpace(strings.Join(texts, "; "))
	switch a.status {
	case http.StatusForbidden:
		if a.anonymous {
			return fmt.Errorf("%w: the client has no token: log in and set one, or set VAULT_TOKEN, before the request", atrest.ErrPermission)
		}
		return fmt.Errorf("%w: the policy of the token in use must grant %q on %q, and the token must not have expired",
			atrest.ErrPermission, r.capability, r.path)
	case http.StatusNotFound:
		if strings.Contains(text, "no handler for route") {
			return fmt.Errorf("%w: there is no secrets engine at that mount: enable transit there (vault secrets enable), or set Config.Mount",
				atrest.ErrKeyNotFound)
		}
		return notFound()
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		// encrypt, decrypt, rewrap: "encryption key not found"; rotate: "key
		// not found". For neverCreate, see there.
		if strings.HasSuffix(text, "key not found") || strings.HasSuffix(text, "unknown key type "+neverCreate) {
			return notFound()
		}
		return &failure{err: fmt.Errorf("refused by Vault with status %d: %s", a.status, redact(text)), refused: true}
	case http.StatusServiceUnavailable:
		// consts.ErrSealed, "Vault is sealed", which is also what one that is
		// not initialised answers. Other causes of 503 pass.
		if strings.Contains(text, "is sealed") {
			return atrest.ErrVaultSealed
		}
	case http.StatusNotImplemented:
		return fmt.Errorf("%w (not initialised)", atrest.ErrVaultSealed)
	}
	return unavailable(a, redact(text))
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

func notFound() error {
	return fmt.Errorf("%w: create it with derived=true, or set Config.CreateKey, or check the name", atrest.ErrKeyNotFound)
}

// errGarbage is the error for an answer that has Vault's form but makes no
// sense. It is not tried again.
func errGarbage(what string) error {
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
		err:       fmt.Errorf("%w: %s", atrest.ErrVaultUnavailable, redact(err.Error())),
		transient: !untrusted,
	}
}

// itemError sorts the error of one item of a batch. The texts are those of
// DecryptWithFactory in Vault's sdk/helper/keysutil/policy.go.
func itemError(text string) error {
	has := func(s string) bool { return strings.Contains(text, s) }
	switch {
	case has("disallowed by policy (too old)"):
		return atrest.ErrKeyVersionTooOld
	case has("version is too new"):
		return fmt.Errorf("%w (its version of the transit key is newer than any that Vault has: has the transit key been restored from an older backup?)",
			atrest.ErrTampered)
	case has("message authentication failed"), // crypto/cipher, x/crypto/chacha20poly1305
		has("invalid ciphertext"): // no prefix, bad version, bad base64, too short
		return atrest.ErrTampered
	}
	return fmt.Errorf("refused by Vault: %s", redact(text))
}

// secretLooking is what a token, a data key or a wrapped key would look like
// in a text that came from elsewhere: a run of base64, or a token, which has
// one of Vault's prefixes.
var secretLooking = regexp.MustCompile(`[A-Za-z0-9+/=]{24,}|\b(hv)?[sbr]\.\S+`)

// redact makes a foreign text fit for an error message: short, on one line,
// and without JSON or anything that looks like a secret, should it echo the
// request.
func redact(text string) string {
	text, _, _ = strings.Cut(text, "{")
	text = strings.Join(strings.Fields(text), " ")
	text = secretLooking.ReplaceAllString(text, "[redacted]")
	return fmt.Sprintf("%.300q", text)
}
