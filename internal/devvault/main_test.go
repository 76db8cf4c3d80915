package devvault

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"testing"

	"github.com/hashicorp/vault/api"
	"go.uber.org/goleak"
)

// helperVariable makes the test binary behave as another program; see orphan_linux_test.go.
const helperVariable = "DEVVAULT_TEST_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperVariable) != "" {
		if err := helper(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// rootClient is a client with the root token, for a server that must have one.
func rootClient(t *testing.T, s *Server) *api.Client {
	t.Helper()
	client, err := s.Client()
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func write(ctx context.Context, t *testing.T, client *api.Client, path string, data map[string]any) *api.Secret {
	t.Helper()
	secret, err := client.Logical().WriteWithContext(ctx, path, data)
	if err != nil {
		t.Fatalf("write %s: %v", path, err)
	}
	return secret
}

// newTransitKey enables transit and creates a derived key in it.
func newTransitKey(ctx context.Context, t *testing.T, s *Server) {
	t.Helper()
	if err := s.EnableTransit(ctx, "transit"); err != nil {
		t.Fatal(err)
	}
	write(ctx, t, rootClient(t, s), "transit/keys/k", map[string]any{"derived": true})
}

var (
	plaintext = base64.StdEncoding.EncodeToString([]byte("attack at dawn"))
	bound     = base64.StdEncoding.EncodeToString([]byte("context"))
)

// encrypt returns a ciphertext of plaintext under the key of newTransitKey.
func encrypt(ctx context.Context, t *testing.T, client *api.Client) string {
	t.Helper()
	secret := write(ctx, t, client, "transit/encrypt/k", map[string]any{"plaintext": plaintext, "context": bound})
	text, ok := secret.Data["ciphertext"].(string)
	if !ok {
		t.Fatalf("encrypt answered %v", secret.Data)
	}
	return text
}

// checkDecrypts requires that a ciphertext of encrypt can still be read.
func checkDecrypts(ctx context.Context, t *testing.T, client *api.Client, ciphertext string) {
	t.Helper()
	secret := write(ctx, t, client, "transit/decrypt/k", map[string]any{"ciphertext": ciphertext, "context": bound})
	if got := secret.Data["plaintext"]; got != plaintext {
		t.Errorf("decrypt = %v, want %v", got, plaintext)
	}
}

// firstOfBatch is one field of the first item of a batch's answer.
func firstOfBatch(t *testing.T, secret *api.Secret, field string) string {
	t.Helper()
	items, ok := secret.Data["batch_results"].([]any)
	if !ok || len(items) == 0 {
		t.Fatalf("batch answered %v", secret.Data)
	}
	item, ok := items[0].(map[string]any)
	if !ok {
		t.Fatalf("batch item %v", items[0])
	}
	text, ok := item[field].(string)
	if !ok {
		t.Fatalf("batch item %v has no %s", item, field)
	}
	return text
}
