package storage_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
)

// cached is a store with a cache, whose requests to Vault are counted.
type cached struct {
	*storage.Store
	blobs    *memory.Store
	keys     *transit.Wrapper
	requests *atomic.Int64
}

func newCached(t *testing.T, cache storage.KeyCache) cached {
	t.Helper()
	blobs := memory.New()
	keys, requests := countedKeys(t)
	s := newStore(t, storage.Config{Backend: blobs, Keys: keys, SegmentSize: 100, KeyCache: cache})
	t.Cleanup(s.ForgetKeys)
	return cached{s, blobs, keys, requests}
}

// wantRequests fails the test unless what f does takes so many requests to Vault.
func (c cached) wantRequests(t *testing.T, what string, want int64, f func()) {
	t.Helper()
	before := c.requests.Load()
	f()
	if n := c.requests.Load() - before; n != want {
		t.Errorf("%s: %d requests to Vault, want %d", what, n, want)
	}
}

// lasting is a cache that outlasts a test.
var lasting = storage.KeyCache{Keys: 100, MaxAge: time.Hour}

func TestKeyCacheSavesRequests(t *testing.T) {
	c := newCached(t, lasting)
	content := noise(1000)
	c.wantRequests(t, "put", 1, func() { mustPut(t, c.Store, "n", content) })
	get := func() { wantContent(t, c.Store, "n", content) }
	c.wantRequests(t, "get after put", 1, get)
	for what, read := range map[string]func(){
		"get": get,
		"range": func() {
			r, err := c.GetRange(t.Context(), "n", 450, 200)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content[450:650]) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
		},
		"stat": func() {
			if info, err := c.Stat(t.Context(), "n"); err != nil || info.Size != 1000 {
				t.Fatal(info, err)
			}
		},
	} {
		c.wantRequests(t, what, 0, read)
	}
	c.wantRequests(t, "verify, which asks whether Vault still opens it", 1, func() {
		if infos := collect(t, c.Verify(t.Context(), nil)); len(infos) != 1 {
			t.Fatal(infos)
		}
	})
	c.wantRequests(t, "copy, which wraps", 1, func() {
		if _, err := c.Copy(t.Context(), "copy", "n", nil); err != nil {
			t.Fatal(err)
		}
	})
	c.wantRequests(t, "get of the copy", 1, func() { wantContent(t, c.Store, "copy", content) })
	c.ForgetKeys()
	c.wantRequests(t, "get after ForgetKeys", 1, get)
	c.wantRequests(t, "the next", 0, get)
}

// TestKeyCacheIsOff unless asked for.
func TestKeyCacheIsOff(t *testing.T) {
	c := newCached(t, storage.KeyCache{MaxAge: time.Hour})
	mustPut(t, c.Store, "n", nil)
	c.wantRequests(t, "3 gets", 3, func() {
		for range 3 {
			wantContent(t, c.Store, "n", nil)
		}
	})
}

func TestKeyCacheBounds(t *testing.T) {
	keys := newKeys(t, vault)
	for _, bad := range []storage.KeyCache{{Keys: -1}, {Keys: 1<<20 + 1}, {Keys: 1, MaxAge: -1}, {Keys: 1, MaxAge: 24*time.Hour + 1}} {
		if _, err := storage.New(storage.Config{ID: "test", Backend: memory.New(), Keys: keys, KeyCache: bad}); err == nil || !strings.Contains(err.Error(), "KeyCache") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	c := newCached(t, storage.KeyCache{Keys: 2})
	for i := range 3 {
		mustPut(t, c.Store, fmt.Sprint(i), noise(i))
		wantContent(t, c.Store, fmt.Sprint(i), noise(i))
	}
	c.wantRequests(t, "the newest, of a default age", 0, func() { wantContent(t, c.Store, "2", noise(2)) })
	c.wantRequests(t, "evicted", 1, func() { wantContent(t, c.Store, "0", noise(0)) })
}

func TestKeyCacheAge(t *testing.T) {
	const age = 200 * time.Millisecond
	c := newCached(t, storage.KeyCache{Keys: 10, MaxAge: age})
	mustPut(t, c.Store, "n", []byte("x"))
	wantContent(t, c.Store, "n", []byte("x"))
	time.Sleep(age)
	c.wantRequests(t, "after MaxAge", 1, func() { wantContent(t, c.Store, "n", []byte("x")) })
}

// TestKeyCacheTampered: a cached key opens what it did, and nothing else.
func TestKeyCacheTampered(t *testing.T) {
	c := newCached(t, lasting)
	content := noise(150)
	if _, err := c.PutBytes(t.Context(), "n", content, &storage.PutOptions{Metadata: storage.Metadata{"k": "v"}}); err != nil {
		t.Fatal(err)
	}
	mustPut(t, c.Store, "other", noise(150))
	wantContent(t, c.Store, "n", content)
	wantContent(t, c.Store, "other", noise(150))
	header, body := rawGet(t, c.blobs, "n")
	_, otherBody := rawGet(t, c.blobs, "other")
	for i := range header {
		forged := bytes.Clone(header)
		forged[i] ^= 1 << (i % 8)
		rawPut(t, c.blobs, "n", forged, body)
		checkTampered(t, c.Store, fmt.Sprintf("header byte %d", i), "n", content)
	}
	rawPut(t, c.blobs, "n", header, otherBody)
	checkTampered(t, c.Store, "another object's body", "n", content)
	rawPut(t, c.blobs, "elsewhere", header, body)
	checkTampered(t, c.Store, "another name", "elsewhere", content)
	rawPut(t, c.blobs, "n", header, body)
	c.wantRequests(t, "the genuine one again", 0, func() { wantContent(t, c.Store, "n", content) })

	// What Vault unwrapped for a header that is not genuine is not kept.
	c.ForgetKeys()
	forged := bytes.Clone(header)
	forged[30] ^= 1
	rawPut(t, c.blobs, "n", forged, body)
	c.wantRequests(t, "2 reads of a forged header", 2, func() {
		for range 2 {
			_, err := c.Stat(t.Context(), "n")
			wantError(t, err, atrest.ErrTampered)
		}
	})
	rawPut(t, c.blobs, "n", header, body)

	// Of a store of another ID, the key is another's even if the name is not.
	stranger := newStore(t, storage.Config{ID: "other", Backend: c.blobs, Keys: c.keys, KeyCache: lasting, SegmentSize: 100})
	defer stranger.ForgetKeys()
	checkTampered(t, stranger, "another store", "n", content)
}

// TestKeyCacheReplaced: what was put in an object's place has another key.
func TestKeyCacheReplaced(t *testing.T) {
	c := newCached(t, lasting)
	mustPut(t, c.Store, "n", []byte("first"))
	wantContent(t, c.Store, "n", []byte("first"))
	mustPut(t, c.Store, "n", []byte("second"))
	c.wantRequests(t, "replaced", 1, func() { wantContent(t, c.Store, "n", []byte("second")) })
	if err := c.Delete(t.Context(), "n", nil); err != nil {
		t.Fatal(err)
	}
	_, err := c.Stat(t.Context(), "n")
	wantError(t, err, atrest.ErrNotFound)
	mustPut(t, c.Store, "n", []byte("third"))
	c.wantRequests(t, "deleted and put again", 1, func() { wantContent(t, c.Store, "n", []byte("third")) })

	if err := c.keys.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.wantRequests(t, "after a rotation", 0, func() { wantContent(t, c.Store, "n", []byte("third")) })
	if p, err := c.Rewrap(t.Context(), nil); err != nil || p.Rewrapped != 1 {
		t.Fatal(p, err)
	}
	c.wantRequests(t, "rewrapped", 1, func() {
		if info, err := c.Stat(t.Context(), "n"); err != nil || info.KeyVersion != 2 {
			t.Fatal(info, err)
		}
	})
	c.wantRequests(t, "rewrapped, again", 0, func() { wantContent(t, c.Store, "n", []byte("third")) })
}

// TestKeyCacheSealed: what a sealed Vault refuses is still read until the keys are
// forgotten, if it was read before. A refusal is not remembered.
func TestKeyCacheSealed(t *testing.T) {
	server := secondVault(t)
	s := newStore(t, storage.Config{Keys: newKeys(t, server), KeyCache: lasting})
	defer s.ForgetKeys()
	mustPut(t, s, "read", []byte("x"))
	mustPut(t, s, "unread", []byte("y"))
	wantContent(t, s, "read", []byte("x"))
	if err := server.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantContent(t, s, "read", []byte("x"))
	_, err := s.Stat(t.Context(), "unread")
	wantError(t, err, atrest.ErrVaultSealed)
	s.ForgetKeys()
	_, err = s.Stat(t.Context(), "read")
	wantError(t, err, atrest.ErrVaultSealed)
	if err := server.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantContent(t, s, "read", []byte("x"))
	wantContent(t, s, "unread", []byte("y"))
}

// TestKeyCacheRetired: the same of a version of the transit key that is retired.
func TestKeyCacheRetired(t *testing.T) {
	c := newCached(t, lasting)
	mustPut(t, c.Store, "n", []byte("x"))
	wantContent(t, c.Store, "n", []byte("x"))
	if err := c.keys.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, err := vault.Client()
	if err != nil {
		t.Fatal(err)
	}
	_, key := c.keys.Key()
	if _, err := client.Logical().WriteWithContext(t.Context(), "transit/keys/"+key+"/config", map[string]any{"min_decryption_version": 2}); err != nil {
		t.Fatal(err)
	}
	wantContent(t, c.Store, "n", []byte("x"))
	c.ForgetKeys()
	_, err = c.Stat(t.Context(), "n")
	wantError(t, err, atrest.ErrKeyVersionTooOld)
}

// TestKeyCacheMigrate: the new headers of a migration in place are tried on Vault.
func TestKeyCacheMigrate(t *testing.T) {
	src, dst := newCached(t, lasting), newCached(t, lasting)
	dst.Store = newStore(t, storage.Config{ID: "destination", Backend: src.blobs, Keys: dst.keys, KeyCache: lasting})
	t.Cleanup(dst.ForgetKeys)
	mustPut(t, src.Store, "n", []byte("x"))
	wantContent(t, src.Store, "n", []byte("x"))
	dst.wantRequests(t, "wrap and unwrap", 2, func() {
		src.wantRequests(t, "source", 0, func() {
			if p := mustMigrate(t, dst.Store, src.Store, nil); p.Copied != 1 {
				t.Fatalf("%+v", p)
			}
		})
	})
	wantContent(t, dst.Store, "n", []byte("x"))
}

// TestKeyCacheConcurrent: readers, writers and evictions, all at once.
func TestKeyCacheConcurrent(t *testing.T) {
	c := newCached(t, storage.KeyCache{Keys: 8, MaxAge: 20 * time.Millisecond})
	const names, workers, rounds = 24, 64, 30
	content := func(name int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%4d", name), 100) }
	for name := range names {
		mustPut(t, c.Store, fmt.Sprint(name), content(name))
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				n := (w*7 + i*i) % names
				if err := concurrentStep(t, c.Store, w+i, fmt.Sprint(n), content(n)); err != nil {
					t.Errorf("%d: %v", n, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func concurrentStep(t *testing.T, s *storage.Store, step int, name string, content []byte) error {
	var got []byte
	want := content
	var err error
	switch step % 16 {
	case 0:
		_, err = s.PutBytes(t.Context(), name, content, nil)
		return err
	case 1:
		s.ForgetKeys()
		return nil
	case 2, 3, 4, 5:
		_, err = s.Stat(t.Context(), name)
		return err
	case 6, 7, 8:
		want = content[150:250]
		r, err := s.GetRange(t.Context(), name, 150, 100)
		if err != nil {
			return err
		}
		defer r.Close()
		if got, err = io.ReadAll(r); err != nil {
			return err
		}
	default:
		if got, _, err = s.GetBytes(t.Context(), name); err != nil {
			return err
		}
	}
	if !bytes.Equal(got, want) {
		return errors.New("other content than was put")
	}
	return nil
}

// BenchmarkKeyCache gets 1 KiB from memory: with a cache, without one, and bare,
// which is AES-256-GCM under a key that is at hand.
func BenchmarkKeyCache(b *testing.B) {
	keys := newKeys(b, vault)
	for what, cache := range map[string]storage.KeyCache{"cached": lasting, "uncached": {}} {
		s := newStore(b, storage.Config{Keys: keys, KeyCache: cache})
		defer s.ForgetKeys()
		mustPut(b, s, "n", noise(1024))
		get := func() error { _, _, err := s.GetBytes(b.Context(), "n"); return err }
		benchmarkGet(b, what, get)
	}
	block, err := aes.NewCipher(noise(32))
	if err != nil {
		b.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		b.Fatal(err)
	}
	blobs := memory.New()
	rawPut(b, blobs, "n", nil, aead.Seal(nil, nil, noise(1024), nil))
	benchmarkGet(b, "bare", func() error {
		obj, err := blobs.Get(b.Context(), "n", backend.All, "")
		if err != nil {
			return err
		}
		defer obj.Body.Close()
		sealed, err := io.ReadAll(obj.Body)
		if err == nil {
			_, err = aead.Open(nil, nil, sealed, nil)
		}
		return err
	})
}

func benchmarkGet(b *testing.B, what string, get func() error) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("%s/%d", what, callers), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(1024)
			b.SetParallelism(max(callers/2, 1))
			if callers == 1 {
				for b.Loop() {
					if err := get(); err != nil {
						b.Fatal(err)
					}
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := get(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
