// Package examples_test runs the examples as a user would, against real servers.
package examples_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/atrest/atrest/internal/devpostgres"
	"github.com/atrest/atrest/internal/devs3"
	"github.com/atrest/atrest/internal/devvault"
)

// A stage is what the examples find when they run.
type stage struct {
	programs string   // directory
	env      []string // how to reach the servers
}

func TestExamples(t *testing.T) {
	s := prepare(t)
	large := filepath.Join(t.TempDir(), "a large file")
	if err := os.WriteFile(large, []byte(strings.Repeat("plaintext of some length\n", 200_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, example := range []struct {
		name string
		args []string
		want []string // in the output
	}{
		{"quickstart", nil, []string{"db/password: 13 bytes", "it reads: correct horse"}},
		{"stream", []string{large}, []string{"put  5000000 bytes", "the same: true"}},
		{"rotate", nil, []string{"2000 rewrapped to version 2", "0 objects still need an older version"}},
		{"demo", []string{large}, []string{
			"files: 1, bytes: 5000000", "the beginnings of 1 files were looked for", "compared: 1", "compared again: 1",
			"to version 2; headers rewrapped: 1", "authentication failed", "the other objects (0) are good",
		}},
	} {
		t.Run(example.name, func(t *testing.T) {
			s.run(t, t.TempDir(), "", example.want, append([]string{example.name}, example.args...)...)
		})
	}
	t.Run("secrets", s.secrets)
	t.Run("migrate", s.migrate)
	t.Run("uploads", s.uploads)
	t.Run("internal-vault", s.internalVault)
}

// prepare builds the examples and starts the servers.
func prepare(t *testing.T) *stage {
	t.Helper()
	vault := devvault.StartForTest(t)
	if err := vault.EnableTransit(t.Context(), "transit"); err != nil {
		t.Fatal(err)
	}
	database, err := devpostgres.StartForTest(t).Database(t.Context(), "examples")
	if err != nil {
		t.Fatal(err)
	}
	objects := devs3.StartForTest(t, devs3.Kinds()[0])
	bucket, err := objects.NewBucket(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	options := objects.Client().Options()
	keys, err := options.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	programs := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", programs+"/", "./...").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return &stage{programs, append(os.Environ(),
		"VAULT_ADDR="+vault.Addr(), "VAULT_TOKEN="+vault.RootToken(), "DATABASE_URL="+database,
		"AWS_ENDPOINT_URL_S3="+objects.Endpoint(), "AWS_REGION="+options.Region,
		"AWS_ACCESS_KEY_ID="+keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+keys.SecretAccessKey, "S3_BUCKET="+bucket,
	)}
}

func (s *stage) command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.programs, name), args...)
	cmd.Dir = dir
	cmd.Env = s.env
	return cmd
}

// run runs an example to its end and looks for what its output must contain.
func (s *stage) run(t *testing.T, dir, stdin string, want []string, command ...string) {
	t.Helper()
	cmd := s.command(t.Context(), dir, command[0], command[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, text := range want {
		if !strings.Contains(string(out), text) {
			t.Errorf("%q is missing in the output:\n%s", text, out)
		}
	}
}

func (s *stage) secrets(t *testing.T) {
	dir := t.TempDir()
	s.run(t, dir, "correct horse", []string{"db/password: 13 bytes"}, "secrets", "set", "db/password")
	s.run(t, dir, "", []string{"correct horse"}, "secrets", "get", "db/password")
	s.run(t, dir, "", []string{"db/password\t13 bytes\tkey version 1"}, "secrets", "list")
	s.run(t, dir, "", []string{"1 secrets are under key version 2"}, "secrets", "rotate")
	s.run(t, dir, "", []string{"correct horse"}, "secrets", "get", "db/password")
}

func (s *stage) migrate(t *testing.T) {
	dir := t.TempDir()
	s.run(t, dir, "", []string{"copied 100, there already 0, failed 0"}, "migrate", "store")
	s.run(t, dir, "", []string{"copied 0, there already 100, failed 0"}, "migrate", "store")
}

// internalVault boots an installation, boots it again, and goes on with it on another
// machine, which has nothing but the database and the password.
func (s *stage) internalVault(t *testing.T) {
	binary, err := devvault.Binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(node, password string) string {
		cmd := s.command(t.Context(), dir, "internal-vault", filepath.Join(dir, node))
		cmd.Env = append(cmd.Env, "INTERNAL_VAULT="+binary, "ENCRYPTION_PASSWORD="+password)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), ": correct horse") || !strings.Contains(string(out), "all is well") {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	_, rest, found := strings.Cut(run("one", ""), "in a safe place: ")
	if !found {
		t.Fatal("the first boot prints no password")
	}
	password, _, _ := strings.Cut(rest, "\n")
	if again := run("one", ""); strings.Contains(again, password) {
		t.Error("the second boot shows the password")
	}
	run("two", password)
}

// uploads starts the service, uses it as a client would, and ends it.
func (s *stage) uploads(t *testing.T) {
	cmd := s.command(t.Context(), t.TempDir(), "uploads")
	cmd.Env = append(cmd.Env, "LISTEN=127.0.0.1:0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url := strings.TrimSpace(strings.TrimPrefix(line, "listening on ")) + "/uploads"

	content := strings.Repeat("an upload of 12 MiB or so\n", 500_000)
	_, id := request(t, http.MethodPost, url, content, http.StatusCreated)
	id = strings.TrimSpace(id)
	header, got := request(t, http.MethodGet, url+"/"+id, "", http.StatusOK)
	if got != content || header.Get("Content-Type") != "text/x-upload" {
		t.Errorf("%d bytes of type %s came back", len(got), header.Get("Content-Type"))
	}
	request(t, http.MethodGet, url+"/no-such-upload", "", http.StatusNotFound)

	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the service ended with %v", err)
	}
}

func request(t *testing.T, method, url, body string, want int) (http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/x-upload")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s %s: status %d, want %d: %s", method, url, resp.StatusCode, want, answer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header, string(answer)
}
