package storage

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atrest/atrest/backend/memory"
	"pgregory.net/rapid"
)

func newTestCache(t testing.TB, keys int, age time.Duration) *keyCache {
	t.Helper()
	c, err := newKeyCache(KeyCache{Keys: keys, MaxAge: age})
	if err != nil || c == nil {
		t.Fatal(c, err)
	}
	return c
}

// testKey is the header of test object i, its context and its keys.
func testKey(i int) (h *header, keyContext []byte, keys *objectKeys) {
	s := &Store{id: "test"}
	return &header{wrapped: wrappedKey{version: 1, ciphertext: fmt.Appendf(nil, "%060d", i)}}, s.keyContext(fmt.Sprint(i)),
		keysOf("%032d", i)
}

func keysOf(format string, x any) *objectKeys {
	key := [32]byte(fmt.Appendf(nil, format, x))
	return &objectKeys{data: key, body: sha256.Sum256(key[:])}
}

// read looks key i up and has it unwrapped if it is not there.
func (c *keyCache) read(t testing.TB, i int) (hit bool) {
	t.Helper()
	h, keyContext, want := testKey(i)
	got, q := c.lookup(h, keyContext)
	if got == nil {
		c.keep(q, want)
		return false
	}
	if *got != *want {
		t.Fatalf("%d: got the key %s", i, got.data)
	}
	got.wipe() // a copy, or else the next hit fails
	return true
}

// count returns how many keys there are. None are left with a timer.
func (c *keyCache) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.keys) == 0 && c.timer != nil {
		return -1
	}
	return len(c.keys)
}

// held returns the very entry of key i.
func (c *keyCache) held(t testing.TB, i int) *cachedKey {
	t.Helper()
	h, keyContext, _ := testKey(i)
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.keys[newKeyID(h, keyContext)]
	if k == nil || k.keys == (objectKeys{}) {
		t.Fatalf("%d is not in the cache", i)
	}
	return k
}

func wantWiped(t testing.TB, what string, k *cachedKey) {
	t.Helper()
	if k.keys != (objectKeys{}) {
		t.Errorf("%s: the key is still there", what)
	}
}

// TestKeyCacheWipes: however a key goes, its bytes go.
func TestKeyCacheWipes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCache(t, 2, time.Minute)
		c.read(t, 1)
		evicted := c.held(t, 1)
		c.read(t, 2)
		c.read(t, 3)
		wantWiped(t, "evicted", evicted)

		forgotten := c.held(t, 3)
		c.forget()
		wantWiped(t, "forgotten", forgotten)

		c.read(t, 4)
		expired := c.held(t, 4)
		time.Sleep(time.Minute)
		synctest.Wait()
		wantWiped(t, "expired", expired)

		c.read(t, 5)
		looked := c.held(t, 5)
		c.timer.Stop()
		time.Sleep(time.Minute)
		if c.held(t, 5) != looked {
			t.Fatal("gone without the timer")
		}
		if c.read(t, 5) {
			t.Error("a hit after MaxAge")
		}
		wantWiped(t, "found to have expired", looked)
	})
}

// TestKeyCacheExpires: keys are used up to MaxAge after Vault was asked, and go
// without further calls. An empty cache has no timer.
func TestKeyCacheExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCache(t, 1000, time.Minute)
		for i := range 100 {
			c.read(t, i)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(49 * time.Second) // 0 is 59 s old, and 99 nearly 50
		if !c.read(t, 0) || !c.read(t, 99) || c.count() != 100 {
			t.Fatalf("%d keys", c.count())
		}
		last := c.held(t, 99)
		time.Sleep(time.Second)
		synctest.Wait()
		if n := c.count(); n > 99 || n < 93 {
			t.Errorf("%d keys are left when the first has its age", n)
		}
		if c.read(t, 0) {
			t.Error("a hit after MaxAge: use has made the key younger")
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		wantWiped(t, "the last", last)
		if n := c.count(); n != 1 {
			t.Errorf("%d keys", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := c.count(); n != 0 {
			t.Errorf("%d keys when all have expired", n)
		}
	})
}

// TestKeyCacheSlowVault: the age counts from the question, and the answer to one
// from before all was forgotten is not kept.
func TestKeyCacheSlowVault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCache(t, 10, time.Minute)
		h, keyContext, keys := testKey(1)
		_, slow := c.lookup(h, keyContext)
		time.Sleep(40 * time.Second)
		c.read(t, 2)
		c.keep(slow, keys)
		k := c.held(t, 1)
		time.Sleep(20 * time.Second)
		if !c.read(t, 2) || c.read(t, 1) {
			t.Error("the one that took 40 s is not what is refused after 20 more")
		}
		wantWiped(t, "slow", k)

		_, late := c.lookup(h, keyContext)
		c.forget()
		_, lost := c.lookup(h, keyContext)
		c.forget()
		c.keep(late, keys)
		c.keep(lost, keys)
		if c.count() != 0 {
			t.Error("an answer from before all was forgotten is kept")
		}
		_, late = c.lookup(h, keyContext)
		time.Sleep(time.Minute)
		c.keep(late, keys)
		if c.count() != 0 {
			t.Error("an answer that has its age is kept")
		}
	})
}

// TestKeyCacheWalk: a walk over many objects leaves what is hot.
func TestKeyCacheWalk(t *testing.T) {
	c := newTestCache(t, 100, time.Hour)
	defer c.forget()
	for range 2 {
		for hot := range 50 {
			c.read(t, hot)
		}
	}
	missed := 0
	for i := range 10_000 {
		c.read(t, 1000+i)
		if i%100 == 0 { // each of the hot ones is read now and then
			for hot := range 50 {
				if !c.read(t, hot) {
					missed++
				}
			}
		}
	}
	if missed > 0 || c.count() != 100 {
		t.Errorf("%d of 5000 reads of hot keys missed; %d keys", missed, c.count())
	}
}

// TestKeyCacheModel compares with a map, whatever happens in whatever order. Its
// keys are of wrapped keys and contexts that differ in little.
func TestKeyCacheModel(t *testing.T) {
	// A test in a bubble has no deadline that may be asked for.
	synctest.Test(t, func(t *testing.T) { rapid.Check(struct{ rapid.TB }{t}, checkModel) })
}

func checkModel(t *rapid.T) {
	const age = time.Minute
	limit := rapid.IntRange(1, 5).Draw(t, "limit")
	c, err := newKeyCache(KeyCache{Keys: limit, MaxAge: age})
	if err != nil {
		t.Fatal(err)
	}
	defer c.forget()
	type asking struct {
		id   string
		q    question
		at   time.Time
		lost bool
	}
	var open []*asking                 // misses that Vault has not answered
	answered := map[string]time.Time{} // when Vault was asked last, of what may be kept
	t.Repeat(map[string]func(*rapid.T){
		"read": func(t *rapid.T) {
			h := new(header)
			h.wrapped = wrappedKey{version: rapid.Uint32Range(1, 2).Draw(t, "version"), ciphertext: slices.Repeat([]byte{1}, rapid.IntRange(48, 50).Draw(t, "length"))}
			keyContext := bytes.Repeat([]byte{1}, 32)
			keyContext[31] = rapid.ByteRange(1, 3).Draw(t, "context")
			h.immutable.micros = rapid.Uint64Range(1, 2).Draw(t, "micros")
			id := fmt.Sprint(h.wrapped.version, len(h.wrapped.ciphertext), keyContext[31], h.immutable.micros)
			got, q := c.lookup(h, keyContext)
			if at, may := answered[id]; got != nil && (!may || time.Since(at) >= age || *got != *keysOf("%32s", id)) {
				t.Fatalf("%s: got %q", id, got.data)
			}
			if got == nil {
				open = append(open, &asking{id: id, q: q, at: time.Now()})
			}
			if got != nil {
				got.wipe()
			}
		},
		"answer": func(t *rapid.T) {
			if len(open) == 0 {
				return
			}
			i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
			a := open[i]
			open = slices.Delete(open, i, i+1)
			c.keep(a.q, keysOf("%32s", a.id))
			if !a.lost && a.at.After(answered[a.id]) {
				answered[a.id] = a.at
			}
			if !a.lost && time.Since(a.at) < age && c.count() < 1 {
				t.Fatal("an answer was not kept")
			}
		},
		"wait": func(t *rapid.T) {
			time.Sleep(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
			synctest.Wait()
		},
		"forget": func(t *rapid.T) {
			if rapid.IntRange(0, 9).Draw(t, "rarely") > 0 {
				return
			}
			c.forget()
			clear(answered)
			for _, a := range open {
				a.lost = true
			}
		},
		"": func(t *rapid.T) { c.checkLinks(t, limit) },
	})
}

// checkLinks checks that list, map and timer agree.
func (c *keyCache) checkLinks(t *rapid.T, limit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	listed := map[keyID]*cachedKey{}
	handIsListed := c.hand == nil || c.hand == &c.ends
	for k := c.ends.newer; k != &c.ends; k = k.newer {
		listed[k.id] = k
		if k.newer.older != k || k.older.newer != k || len(listed) > limit {
			t.Fatal("the list is broken")
		}
		handIsListed = handIsListed || c.hand == k
	}
	if !maps.Equal(listed, c.keys) || !handIsListed || len(listed) > 0 && c.timer == nil {
		t.Fatalf("%d keys in the list, %d in the map, hand %v, timer %v", len(listed), len(c.keys), handIsListed, c.timer)
	}
}

// TestKeyCacheAllocations: a hit allocates the copy of the key.
func TestKeyCacheAllocations(t *testing.T) {
	c := newTestCache(t, 1, time.Hour)
	defer c.forget()
	c.read(t, 1)
	h, keyContext, keys := testKey(1)
	if n := testing.AllocsPerRun(100, func() {
		if keys, _ := c.lookup(h, keyContext); keys == nil {
			t.Fatal("a miss")
		}
	}); n > 1 {
		t.Errorf("a hit makes %v allocations", n)
	}
	var off *keyCache
	if n := testing.AllocsPerRun(100, func() { off.keep(question{}, keys); off.lookup(h, keyContext); off.forget() }); n > 0 {
		t.Errorf("without a cache: %v allocations", n)
	}
}

// TestKeyCachePrints: printing what leads to a cache shows none of its keys.
func TestKeyCachePrints(t *testing.T) {
	s, err := New(Config{ID: "test", Backend: memory.New(), Keys: namedKeys{}, KeyCache: KeyCache{Keys: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.ForgetKeys()
	s.cache.read(t, 7)
	_, _, keys := testKey(7)
	dataKey := keys.data[:]
	decimal := strings.Trim(fmt.Sprint(dataKey), "[]")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p"} {
		for _, x := range []any{s, *s, &s, []*Store{s}, struct{ s *Store }{s}} {
			text := fmt.Sprintf(verb, x)
			for _, shown := range []string{string(dataKey), decimal, hex.EncodeToString(dataKey), hex.EncodeToString(keys.body[:]), string(keys.body[:]), base64.StdEncoding.EncodeToString(dataKey), "0x30, 0x30, 0x30"} {
				if strings.Contains(strings.ToLower(text), strings.ToLower(shown)) {
					t.Errorf("%s of %T shows the key: %s", verb, x, text)
				}
			}
		}
	}
}

// namedKeys is no wrapper, but has a key's name.
type namedKeys struct{ KeyWrapper }

func (namedKeys) Key() (mount, name string) { return "transit", "key" }
