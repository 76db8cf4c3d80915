package vaultserver

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), helperVariable+"="+dir)
	parent.Stderr = os.Stderr
	stdout, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if killErr := parent.Process.Kill(); killErr != nil {
		t.Fatal(killErr)
	}
	_ = parent.Wait() // it was killed, and says so
	if err != nil {
		t.Fatalf("the parent said nothing: %v", err)
	}
	var pid int
	if _, err := fmt.Sscan(line, &pid); err != nil {
		t.Fatalf("the parent said %q: %v", line, err)
	}
	for deadline := time.Now().Add(10 * time.Second); !goneOrZombie(pid); time.Sleep(child.PollInterval) {
		if time.Now().After(deadline) {
			t.Fatalf("Vault, process %d, outlives its parent", pid)
		}
	}
	c, _ := testConfig(t, func(c *Config) { c.Dir = dir })
	startForTest(t, c)
}

// goneOrZombie counts an orphan that nobody has asked how it ended as gone.
func goneOrZombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, fields, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(fields, "Z") || strings.HasPrefix(fields, "X")
}
