package devvault

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// sharedVariable names the environment variable that chooses the server of
// [Shared].
const sharedVariable = "ATREST_TEST_VAULT"

// Shared returns the Vault for tests that share one and do not break it: a new
// one, as [Start] makes, or with ATREST_TEST_VAULT=external the Vault or OpenBao
// at VAULT_ADDR, with the token in VAULT_TOKEN. VAULT_ADDR alone chooses nothing:
// on a developer's machine it may well name a server in production. VAULT_NAMESPACE
// and the other variables have no effect.
//
// An external server must be initialised and unsealed, and the token must be
// allowed to enable engines, to write policies, to create orphan tokens and to do
// everything with transit. VAULT_ADDR should be http:// on this machine: some tests
// put a proxy before the server that knows no TLS. What tests make there stays.
// [Server.Stop] only closes connections; Restart, Seal, Unseal, Pause, Resume and
// Kill fail with [errors.ErrUnsupported].
func Shared(ctx context.Context) (*Server, error) {
	switch choice := os.Getenv(sharedVariable); choice {
	case "":
		return Start(ctx, Options{})
	case "external":
	default:
		return nil, fmt.Errorf("devvault: %s is %q; it can be empty or external", sharedVariable, choice)
	}
	address, token := os.Getenv("VAULT_ADDR"), os.Getenv("VAULT_TOKEN")
	if address == "" || token == "" {
		return nil, fmt.Errorf("devvault: %s=external needs VAULT_ADDR, the URL of a running Vault for tests, and VAULT_TOKEN", sharedVariable)
	}
	s := &Server{external: strings.TrimRight(address, "/"), transport: newTransport()}
	s.keys.Store(&initKeys{RootToken: token})
	if err := s.checkToken(ctx); err != nil {
		s.transport.CloseIdleConnections()
		return nil, fmt.Errorf("devvault: the server of %s=external, at VAULT_ADDR: %w", sharedVariable, err)
	}
	return s, nil
}

// checkToken asks the server about the token that we hold, so that a server which
// is not there, sealed, or not for us is told of once and not by each test.
func (s *Server) checkToken(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client, err := s.newClient()
	if err != nil {
		return err
	}
	_, err = client.Auth().Token().LookupSelfWithContext(ctx)
	return err
}
