package storage_test

import (
	"context"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/devvault"
	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
)

// TestVaultFaults: a Vault that is sealed, hangs, forbids or is gone makes each
// operation fail with the matching error, in time, and changes nothing.
func TestVaultFaults(t *testing.T) {
	onEach(t, func(t *testing.T, blobs backend.Blobs) {
		server := devvault.StartForTest(t)
		if err := server.EnableTransit(t.Context(), "transit"); err != nil {
			t.Fatal(err)
		}
		s := newStore(t, storage.Config{Backend: blobs, Keys: newKeys(t, server)})
		mustPut(t, s, "n", []byte("old"))
		header, body := rawGet(t, blobs, "n")

		check := func(what string, want error) {
			t.Helper()
			if failed := operations(t, s, blobs, want); failed != "" {
				t.Errorf("%s: %s", what, failed)
			}
			if names := collect(t, blobs.List(t.Context(), "", "")); len(names) != 1 {
				t.Errorf("%s: something was written: %+v", what, names)
			}
			if h, b := rawGet(t, blobs, "n"); string(h) != string(header) || string(b) != string(body) {
				t.Errorf("%s: the object has changed", what)
			}
		}
		if err := server.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
		check("sealed", atrest.ErrVaultSealed)
		if err := server.Unseal(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantContent(t, s, "n", []byte("old"))

		if err := server.Pause(); err != nil {
			t.Fatal(err)
		}
		check("hanging", context.DeadlineExceeded)
		if err := server.Resume(); err != nil {
			t.Fatal(err)
		}
		wantContent(t, s, "n", []byte("old"))

		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		check("gone", atrest.ErrVaultUnavailable)
	})
}

// operations runs each operation that needs Vault, and says what was not as
// wanted.
func operations(t *testing.T, s *storage.Store, blobs backend.Blobs, want error) string {
	t.Helper()
	patience := 8 * time.Second
	if want == context.DeadlineExceeded {
		patience = 300 * time.Millisecond
	}
	for name, op := range map[string]func(ctx context.Context) error{
		"put new":   func(ctx context.Context) error { _, err := s.PutBytes(ctx, "new", noise(10), nil); return err },
		"put large": func(ctx context.Context) error { _, err := s.PutBytes(ctx, "new", noise(1<<20), nil); return err },
		"overwrite": func(ctx context.Context) error { _, err := s.PutBytes(ctx, "n", noise(10), nil); return err },
		"get":       func(ctx context.Context) error { _, err := s.Get(ctx, "n"); return err },
		"stat":      func(ctx context.Context) error { _, err := s.Stat(ctx, "n"); return err },
		"copy":      func(ctx context.Context) error { _, err := s.Copy(ctx, "new", "n", nil); return err },
		"rename":    func(ctx context.Context) error { _, err := s.Rename(ctx, "new", "n", nil); return err },
		"rewrap":    func(ctx context.Context) error { _, err := s.Rewrap(ctx, nil); return err },
		"verify": func(ctx context.Context) (last error) {
			for _, last = range s.Verify(ctx, nil) {
			}
			return last
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		began := time.Now()
		err := op(ctx)
		cancel()
		if name == "rename" && isError(err, atrest.ErrUnsupported) && !deletesOnCondition(t, blobs) {
			continue
		}
		if !isError(err, want) {
			return name + ": " + errorText(err)
		}
		if took := time.Since(began); took > patience+2*time.Second {
			return name + " took " + took.String()
		}
	}
	return ""
}

func TestForbidden(t *testing.T) {
	keys := newKeys(t, vault)
	_, key := keys.Key()
	s := newStore(t, storage.Config{Keys: keys})
	mustPut(t, s, "n", []byte("old"))
	token, err := vault.Token(t.Context(), `path "transit/keys/`+key+`" { capabilities = ["read"] }`)
	if err != nil {
		t.Fatal(err)
	}
	client, err := vault.Client()
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(token)
	narrow, err := transit.Open(t.Context(), transit.Config{Client: client, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	s = newStore(t, storage.Config{Keys: narrow})
	_, err = s.PutBytes(t.Context(), "n", []byte("new"), nil)
	wantError(t, err, atrest.ErrPermission)
}
