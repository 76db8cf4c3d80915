package plaintext_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/plaintext"
)

func TestCheck(t *testing.T) {
	named := []string{"Vault.Internal", "10.0.0.7:8200", "[2001:DB8::1]", "db."}
	for _, host := range []string{
		"localhost", "LOCALHOST.", "localhost:5432", "127.0.0.1", "127.9.9.9:1", "::1", "[::1]:80",
		"::ffff:127.0.0.1", "/var/run/postgresql", "@abstract",
		"vault.internal:8200", "VAULT.internal.", "10.0.0.7", "10.0.0.7:9", "2001:db8:0::1", "[2001:db8::1]:443", "db",
	} {
		if err := plaintext.Check(host, named); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	for _, host := range []string{
		"", "example.com", "localhost.example.com", "a.localhost", "notlocalhost", "127.0.0.1.example.com", "10.0.0.8", "0.0.0.0", "::",
		"2001:db8::2", "internal", "vault.internal.example.com", "::ffff:10.0.0.8", "127.1", "fe80::1%lo",
	} {
		err := plaintext.Check(host, named)
		if !errors.Is(err, atrest.ErrPlaintextConnection) {
			t.Errorf("%q: %v, want ErrPlaintextConnection", host, err)
		} else if !strings.Contains(err.Error(), "use TLS") {
			t.Errorf("%q: no remedy in %q", host, err)
		}
	}
}
