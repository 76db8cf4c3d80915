package devvault

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
)

func TestStartStop(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	s, err := Start(t.Context(), Options{Log: &log})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(s.Addr(), "http://127.0.0.1:") {
		t.Errorf("Addr = %q, want a loopback address", s.Addr())
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	if !strings.Contains(log.String(), "server started!") {
		t.Errorf("the log lacks the server's output:\n%s", log.String())
	}
	if _, err := os.Stat(s.tempDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stop left %s", s.tempDir)
	}
	if code := s.process.ExitCode(); code != 0 {
		t.Errorf("server exited with %d, want 0", code)
	}
	if err := s.Seal(t.Context()); !errors.Is(err, errStopped) {
		t.Errorf("Seal after Stop: %v, want %v", err, errStopped)
	}
}

func TestTransit(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), StartForTest(t)
	newTransitKey(ctx, t, s)
	if err := s.EnableTransit(ctx, "transit/"); err != nil {
		t.Errorf("enabling transit a second time: %v", err)
	}
	if err := s.EnableTransit(ctx, "sys"); err == nil {
		t.Error("transit was enabled over sys/")
	}
	client := rootClient(t, s)
	item := map[string]any{"plaintext": plaintext, "context": bound}
	answer := write(ctx, t, client, "transit/encrypt/k", map[string]any{"batch_input": []any{item}})
	old := firstOfBatch(t, answer, "ciphertext")
	write(ctx, t, client, "transit/keys/k/rotate", nil)
	item = map[string]any{"ciphertext": old, "context": bound}
	answer = write(ctx, t, client, "transit/rewrap/k", map[string]any{"batch_input": []any{item}})
	rewrapped := firstOfBatch(t, answer, "ciphertext")
	if !strings.HasPrefix(old, "vault:v1:") || !strings.HasPrefix(rewrapped, "vault:v2:") {
		t.Errorf("rewrap of %q is %q", old, rewrapped)
	}
	checkDecrypts(ctx, t, client, old)
	checkDecrypts(ctx, t, client, rewrapped)
}

func TestAppRole(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), StartForTest(t)
	newTransitKey(ctx, t, s)
	client := rootClient(t, s)
	if err := client.Sys().EnableAuthWithOptionsWithContext(ctx, "approle", &api.EnableAuthOptions{Type: "approle"}); err != nil {
		t.Fatal(err)
	}
	policy := `path "transit/encrypt/k" { capabilities = ["update"] }`
	if err := client.Sys().PutPolicyWithContext(ctx, "wrap", policy); err != nil {
		t.Fatal(err)
	}
	write(ctx, t, client, "auth/approle/role/r", map[string]any{"token_policies": "wrap", "token_period": "1h"})
	role, err := client.Logical().ReadWithContext(ctx, "auth/approle/role/r/role-id")
	if err != nil {
		t.Fatal(err)
	}
	secretID := write(ctx, t, client, "auth/approle/role/r/secret-id", nil)
	login := write(ctx, t, client, "auth/approle/login", map[string]any{
		"role_id": role.Data["role_id"], "secret_id": secretID.Data["secret_id"],
	})
	client.SetToken(login.Auth.ClientToken)
	encrypt(ctx, t, client)
}

func TestSealUnseal(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), StartForTest(t)
	newTransitKey(ctx, t, s)
	client := rootClient(t, s)
	ciphertext := encrypt(ctx, t, client)
	if err := s.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	_, err := client.Logical().WriteWithContext(ctx, "transit/encrypt/k", map[string]any{"plaintext": plaintext, "context": bound})
	checkStatus(t, err, http.StatusServiceUnavailable)
	if err := s.Unseal(ctx); err != nil {
		t.Fatal(err)
	}
	checkDecrypts(ctx, t, client, ciphertext)
}

func checkStatus(t *testing.T, err error, want int) {
	t.Helper()
	if response, ok := errors.AsType[*api.ResponseError](err); !ok || response.StatusCode != want {
		t.Errorf("error = %v, want status %d", err, want)
	}
}

func TestTokenHasOnlyItsPolicy(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), StartForTest(t)
	newTransitKey(ctx, t, s)
	token, err := s.Token(ctx, `path "transit/encrypt/k" { capabilities = ["update"] }`)
	if err != nil {
		t.Fatal(err)
	}
	client := rootClient(t, s)
	client.SetToken(token)
	ciphertext := encrypt(ctx, t, client)
	_, err = client.Logical().WriteWithContext(ctx, "transit/decrypt/k", map[string]any{"ciphertext": ciphertext, "context": bound})
	checkStatus(t, err, http.StatusForbidden)
	self, err := client.Auth().Token().LookupSelfWithContext(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if self.Data["orphan"] != true {
		t.Error("the token is not an orphan")
	}
	if _, err := s.Token(ctx, "no policy {"); err == nil {
		t.Error("a policy that does not parse was accepted")
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	s := StartForTest(t)
	client := rootClient(t, s)
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := client.Sys().HealthWithContext(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a paused server answered: %v", err)
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Sys().HealthWithContext(t.Context()); err != nil {
		t.Errorf("after Resume: %v", err)
	}
	// The clean-up stops a server that is paused.
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
}

func TestClientIgnoresEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		api.EnvVaultAddress:    "http://127.0.0.1:1",
		api.EnvVaultAgentAddr:  "http://127.0.0.1:1",
		api.EnvVaultToken:      "not-a-token",
		api.EnvVaultNamespace:  "elsewhere",
		api.EnvVaultProxyAddr:  "http://127.0.0.1:1",
		api.EnvVaultWrapTTL:    "60s",
		api.EnvVaultHeaders:    `{"X-Extra":"1"}`,
		api.EnvVaultMaxRetries: "7",
		"HTTP_PROXY":           "http://127.0.0.1:1",
		"NO_PROXY":             "",
	} {
		t.Setenv(name, value)
	}
	ctx, s := t.Context(), StartForTest(t)
	newTransitKey(ctx, t, s)
	client := rootClient(t, s)
	checkDecrypts(ctx, t, client, encrypt(ctx, t, client))
	if client.Namespace() != "" || client.Headers().Get("X-Extra") != "" || client.MaxRetries() != 0 {
		t.Errorf("the environment shows: namespace %q, headers %v, retries %d",
			client.Namespace(), client.Headers(), client.MaxRetries())
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := Start(ctx, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Start = %v, %v, want %v", s, err, context.Canceled)
	}
}

func TestFailureShowsOutput(t *testing.T) {
	t.Parallel()
	// A shell takes "server" for a script that it cannot find.
	_, err := Start(t.Context(), Options{Binary: "sh"})
	if err == nil || !strings.Contains(err.Error(), "exited at once") || !strings.Contains(err.Error(), "server") {
		t.Errorf("error = %v, want what the program printed", err)
	}
}

// TestForeignBinary takes the way of a server that does not print its port.
func TestForeignBinary(t *testing.T) {
	t.Parallel()
	path, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	s := StartForTest(t, Options{Binary: path})
	if s.binary.ours {
		t.Fatal("a binary named by the caller counts as ours")
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRestartWaitsForItsPort(t *testing.T) {
	t.Parallel()
	s := StartForTest(t)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	squatter, err := net.Listen("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := s.Restart(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Restart on a taken port: %v, want %v", err, context.DeadlineExceeded)
	}
	released := time.AfterFunc(300*time.Millisecond, func() { squatter.Close() })
	defer released.Stop()
	if err := s.Restart(t.Context()); err != nil {
		t.Errorf("Restart after the port was released: %v", err)
	}
}
