package devs3

import (
	"context"
	"fmt"
	"testing"

	"github.com/atrest/atrest/internal/child"
)

// helper starts a server, prints its process id and never ends by itself.
func helper(kind Kind) error {
	s, err := Start(context.Background(), Options{Kind: kind})
	if err != nil {
		return err
	}
	fmt.Println(s.process.PID())
	select {}
}

func TestKilledParentLeavesNoServer(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind Kind) {
		// Killed, it cannot remove its temporary directory; the test's goes anyway.
		if err := child.OrphanServer(helperVariable+"="+string(kind), "TMPDIR="+t.TempDir()); err != nil {
			t.Fatal(err)
		}
	})
}
