package vaultserver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/atrest/atrest/internal/child"
	"github.com/atrest/atrest/internal/devvault"
)

// helper starts a server, prints the id of its process and never ends by itself.
func helper() error {
	binary, err := devvault.Binary()
	if err != nil {
		return err
	}
	s, err := Start(context.Background(), Config{
		Binary: binary, Dir: os.Getenv(helperVariable), Address: "127.0.0.1:0", Storage: InMemory(), TLS: NoTLS{},
	})
	if err != nil {
		return err
	}
	fmt.Println(s.PID())
	select {}
}

// TestOurDeath kills the process that has a server: Vault must go with it, and the
// directory be free for the next.
func TestOurDeath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "vault")
	if err := child.OrphanServer(helperVariable + "=" + dir); err != nil {
		t.Fatal(err)
	}
	c, _ := testConfig(t, func(c *Config) { c.Dir = dir })
	startForTest(t, c)
}
