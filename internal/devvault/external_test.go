package devvault

import (
	"errors"
	"strings"
	"sync"
	"testing"
)

// setExternal has a server of ours stand for one that somebody else runs.
func setExternal(t *testing.T, address, token string) {
	t.Helper()
	t.Setenv(sharedVariable, "external")
	t.Setenv("VAULT_ADDR", address)
	t.Setenv("VAULT_TOKEN", token)
}

func TestSharedExternal(t *testing.T) {
	ctx, theirs := t.Context(), StartForTest(t)
	setExternal(t, theirs.Addr()+"/", theirs.RootToken())
	s, err := Shared(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if s.Addr() != theirs.Addr() || s.RootToken() != theirs.RootToken() {
		t.Errorf("Shared is at %s, want %s and its token", s.Addr(), theirs.Addr())
	}
	newTransitKey(ctx, t, s)
	ciphertext := encrypt(ctx, t, rootClient(t, s))
	if token, err := s.Token(ctx, `path "transit/decrypt/k" { capabilities = ["update"] }`); err != nil || token == "" {
		t.Errorf("Token: %v", err)
	}
	for _, err := range []error{s.Kill(), s.Pause(), s.Resume(), s.Restart(ctx), s.Seal(ctx), s.Unseal(ctx)} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("error = %v, want %v", err, errors.ErrUnsupported)
		}
	}
	if err := errors.Join(s.Stop(), s.Stop()); err != nil {
		t.Error(err)
	}
	checkDecrypts(ctx, t, rootClient(t, theirs), ciphertext)
}

// TestSharedIsLocal has VAULT_ADDR name a server, which alone chooses nothing.
func TestSharedIsLocal(t *testing.T) {
	theirs := StartForTest(t)
	setExternal(t, theirs.Addr(), theirs.RootToken())
	t.Setenv(sharedVariable, "")
	s, err := Shared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Addr() == theirs.Addr() {
		t.Error("Shared is the server of VAULT_ADDR")
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

// TestStartIsLocal keeps tests that break their server from breaking another's.
func TestStartIsLocal(t *testing.T) {
	theirs := StartForTest(t)
	setExternal(t, theirs.Addr(), theirs.RootToken())
	if s := StartForTest(t); s.Addr() == theirs.Addr() || s.Kill() != nil {
		t.Error("StartForTest is the server of VAULT_ADDR")
	}
}

func TestSharedNotThere(t *testing.T) {
	theirs := StartForTest(t)
	for name, test := range map[string]struct{ choice, address, token, want string }{
		"no address":  {"external", "", "sesame", "VAULT_ADDR"},
		"no token":    {"external", theirs.Addr(), "", "VAULT_TOKEN"},
		"wrong token": {"external", theirs.Addr(), "sesame", "permission denied"},
		"no server":   {"external", "http://127.0.0.1:1", "sesame", "127.0.0.1:1"},
		"other word":  {"yes", theirs.Addr(), "sesame", "external"},
	} {
		t.Run(name, func(t *testing.T) {
			setExternal(t, test.address, test.token)
			t.Setenv(sharedVariable, test.choice)
			s, err := Shared(t.Context())
			if err == nil {
				t.Fatal("got", s.Addr())
			}
			if !strings.Contains(err.Error(), sharedVariable) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "sesame") {
				t.Errorf("error = %v, want one with %s and %q, and without the token", err, sharedVariable, test.want)
			}
		})
	}
}

// TestEnableTransitAtOnce is what several test binaries do on one server.
func TestEnableTransitAtOnce(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), StartForTest(t)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if err := s.EnableTransit(ctx, "transit"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
