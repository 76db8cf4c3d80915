package main

import (
	"bytes"
	"context"
	"testing"
)

// TestKeepings: what each way keeps can be read back, and what is bare of it
// holds no plaintext unless it is bare itself.
func TestKeepings(t *testing.T) {
	ctx := t.Context()
	e, err := newEnv(settings{quick: true, dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.close(); err != nil {
			t.Error(err)
		}
	}()
	p, err := e.open(ctx, "memory")
	if err != nil {
		t.Fatal(err)
	}
	need := need{"naive": true, "gocloud": true, "bare": true}
	ours, others, err := e.keepings(ctx, p, false, need)
	if err != nil {
		t.Fatal(err)
	}
	others["ours"] = ours
	for name, k := range others {
		if err := fill(ctx, k, 20, 4); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := checkKept(ctx, k, 20); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(others) != 1+len(need) {
		t.Errorf("%d ways", len(others))
	}
	for _, b := range []bare{others["naive"].(*naive).bare, others["gocloud"].(*gocloud).bare} {
		content, err := b.get(ctx, secretName(3))
		if err != nil || len(content) < secretSize || bytes.Contains(content, secretOf(3)[100:116]) {
			t.Errorf("%d bytes with plaintext among them, or %v", len(content), err)
		}
	}
}

// TestCheckKept: what is missing, one too many or different is found.
func TestCheckKept(t *testing.T) {
	ctx := context.Background()
	for name, spoil := range map[string]func(*bareMemory){
		"missing":   func(b *bareMemory) { delete(b.contents, secretName(1)) },
		"too many":  func(b *bareMemory) { b.contents["other"] = nil },
		"different": func(b *bareMemory) { b.contents[secretName(0)] = secretOf(1); b.contents[secretName(1)] = secretOf(0) },
	} {
		b := newBareMemory()
		if err := fill(ctx, b, 2, 1); err != nil {
			t.Fatal(err)
		}
		if err := checkKept(ctx, b, 2); err != nil {
			t.Fatal(err)
		}
		spoil(b)
		if err := checkKept(ctx, b, 2); err == nil {
			t.Errorf("%s: nothing was found", name)
		}
	}
}
