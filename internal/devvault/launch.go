package devvault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/atrest/atrest/internal/child"
)

// launch writes the configuration, starts a process and waits until it
// answers, sealed. The first launch fixes the server's address.
//
// Our own build is given port 0 and says which it got. For another we choose one.
func (s *Server) launch(ctx context.Context) error {
	fixed := s.addr
	if fixed == "" && s.binary.ours {
		fixed = "127.0.0.1:0"
	}
	return child.TryAddresses(ctx, fixed, func(address string) error { return s.launchAt(ctx, address) })
}

func (s *Server) launchAt(ctx context.Context, address string) error {
	if err := os.WriteFile(s.configPath(), []byte(s.config(address)), 0o600); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	out := newOutput(s.log)
	p, err := child.Start(child.Command{
		Path: s.binary.path,
		Args: []string{"server", "-config=" + s.configPath()},
		Env:  childEnv(),
		Log:  out,
	})
	if err != nil {
		return err
	}
	bound, err := awaitStart(ctx, p, out, address)
	if err != nil {
		return errors.Join(err, p.Stop(stopTimeout))
	}
	s.addr, s.process = bound, p
	return s.awaitHealth(ctx, isAnswering)
}

// awaitStart waits for the line that says that the server runs, and returns
// the address it listens on.
func awaitStart(ctx context.Context, p *child.Process, out *output, address string) (string, error) {
	select {
	case <-out.started:
	case <-p.Done():
		return "", out.StartFailure()
	case <-ctx.Done():
		return "", fmt.Errorf("the server did not start: %w; it printed:\n%s", context.Cause(ctx), out.Tail())
	}
	if !strings.HasSuffix(address, ":0") {
		return address, nil
	}
	bound := out.address()
	if bound == "" {
		return "", fmt.Errorf("the server did not print the address it listens on; it printed:\n%s", out.Tail())
	}
	return bound, nil
}

// childEnv is our environment without the variables by which Vault and OpenBao
// let it override the configuration file, or find a real server's token.
func childEnv() []string {
	var env []string
	for _, entry := range os.Environ() {
		if strings.HasPrefix(entry, "VAULT_") || strings.HasPrefix(entry, "BAO_") {
			continue
		}
		env = append(env, entry)
	}
	return env
}

// config is the server's configuration, in the part of the language that all
// three servers share. Locking memory is off because it needs privileges that
// a test has no reason to have.
func (s *Server) config(address string) string {
	storage := `storage "inmem" {}`
	if path := s.data.vaultPath(); path != "" {
		storage = fmt.Sprintf("storage \"file\" {\n  path = %q\n}", path)
	}
	if s.storage != "" {
		storage = s.storage
	}
	return fmt.Sprintf(`%s
listener "tcp" {
  address     = %q
  tls_disable = true
}
disable_mlock = true
log_level     = "info"
`, storage, address)
}
