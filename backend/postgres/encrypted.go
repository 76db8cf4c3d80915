package postgres

import (
	"fmt"

	"github.com/atrest/atrest/internal/plaintext"
	"github.com/jackc/pgx/v5"
)

// checkEncrypted returns ErrPlaintextConnection if a connection made by this
// configuration would or might be in plaintext to a host that is neither on this
// machine nor allowed. It looks at the fallbacks too: sslmode=prefer, which is
// what a connection string without sslmode means, tries TLS and then goes on
// without, so that whoever is between here and the server decides.
func checkEncrypted(cfg *pgx.ConnConfig, allowed []string) error {
	const remedy = "that is sslmode=verify-full in the connection string, or Config.PlaintextHosts"
	if cfg.TLSConfig == nil {
		if err := plaintext.Check(cfg.Host, allowed); err != nil {
			return fmt.Errorf("%w: %s", err, remedy)
		}
	}
	for _, fallback := range cfg.Fallbacks {
		if fallback.TLSConfig != nil {
			continue
		}
		if err := plaintext.Check(fallback.Host, allowed); err != nil {
			return fmt.Errorf("%w: %s", err, remedy)
		}
	}
	return nil
}
