package devvault

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// newTransport carries the requests of all clients of a server. It has no
// proxy, whatever the environment says: one could not reach our loopback.
func newTransport() *http.Transport {
	return &http.Transport{
		MaxIdleConnsPerHost: 100, // tests call concurrently
		IdleConnTimeout:     30 * time.Second,
	}
}

// newClient makes a client that the environment does not influence. The
// library applies some VAULT_ variables even to a complete configuration, so
// what it may have taken from them is replaced afterwards.
func (s *Server) newClient() (*api.Client, error) {
	client, err := api.NewClient(&api.Config{
		Address:    s.Addr(),
		HttpClient: &http.Client{Transport: s.transport, CheckRedirect: dontFollow},
		Timeout:    time.Minute,
		// No retries: a test sees each failure as it is, and at once.
		MaxRetries: 0,
	})
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}}) // drops a namespace and extra headers
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	client.SetToken(s.RootToken())
	return client, nil
}

// dontFollow leaves redirects to Vault's client, which handles them itself.
func dontFollow(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// EnableTransit enables the transit engine at a mount path such as "transit".
// If it is enabled there already, nothing happens.
func (s *Server) EnableTransit(ctx context.Context, mount string) error {
	if err := s.enableTransit(ctx, strings.Trim(mount, "/")); err != nil {
		return fmt.Errorf("devvault: enabling transit at %q: %w", mount, err)
	}
	return nil
}

func (s *Server) enableTransit(ctx context.Context, mount string) error {
	client, err := s.newClient()
	if err != nil {
		return err
	}
	if enabled, err := transitEnabled(ctx, client, mount); enabled || err != nil {
		return err
	}
	failed := client.Sys().MountWithContext(ctx, mount, &api.MountInput{Type: "transit"})
	if failed == nil {
		return nil
	}
	// Somebody else may have been quicker: several test binaries share an
	// external server.
	if enabled, err := transitEnabled(ctx, client, mount); !enabled {
		return errors.Join(failed, err)
	}
	return nil
}

// transitEnabled reports whether transit is enabled at the mount path. Another
// engine there is an error.
func transitEnabled(ctx context.Context, client *api.Client, mount string) (bool, error) {
	mounts, err := client.Sys().ListMountsWithContext(ctx)
	if err != nil {
		return false, err
	}
	existing, ok := mounts[mount+"/"]
	if ok && existing.Type != "transit" {
		return false, fmt.Errorf("the engine there is %q", existing.Type)
	}
	return ok, nil
}

// Token creates a token that may do what a policy allows, for tests of
// permissions. The policy is written in Vault's policy language; Vault's
// default policy, which lets a token look up and renew itself, applies too.
func (s *Server) Token(ctx context.Context, policyHCL string) (string, error) {
	token, err := s.token(ctx, policyHCL)
	if err != nil {
		return "", fmt.Errorf("devvault: creating a token: %w", err)
	}
	return token, nil
}

func (s *Server) token(ctx context.Context, policyHCL string) (string, error) {
	client, err := s.newClient()
	if err != nil {
		return "", err
	}
	name := "devvault-" + strings.ToLower(rand.Text())
	if err := client.Sys().PutPolicyWithContext(ctx, name, policyHCL); err != nil {
		return "", err
	}
	// An orphan, as the library's own tokens are: revoking a token revokes
	// its children.
	secret, err := client.Auth().Token().CreateOrphanWithContext(ctx, &api.TokenCreateRequest{Policies: []string{name}})
	if err != nil {
		return "", err
	}
	return secret.TokenID()
}
