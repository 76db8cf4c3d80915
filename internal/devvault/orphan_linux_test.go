package devvault

import (
	"context"
	"fmt"
	"testing"

	"github.com/atrest/atrest/internal/child"
)

// helper starts a server, prints its process id and never ends by itself.
func helper() error {
	s, err := Start(context.Background(), Options{})
	if err != nil {
		return err
	}
	fmt.Println(s.process.PID())
	select {}
}

func TestKilledParentLeavesNoServer(t *testing.T) {
	t.Parallel()
	// Killed, it cannot remove its temporary directory; the test's goes anyway.
	if err := child.OrphanServer(helperVariable+"=1", "TMPDIR="+t.TempDir()); err != nil {
		t.Fatal(err)
	}
}
