package storage

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	defaultKeyAge = time.Minute
	maxKeyAge     = 24 * time.Hour
	maxCachedKeys = 1 << 20
)

// KeyCache says how many data keys a [Store] keeps that Vault has unwrapped, and
// for how long. What finds its data key there does not ask Vault: Get, GetRange,
// GetBytes, Stat, and the reading of a Copy and of Migrate, but not Verify. The zero
// KeyCache keeps none.
//
// The price is that Vault's word is up to MaxAge old. For so long, objects that
// were read before can still be read after the policy or the token that allowed it
// was revoked, the transit key's version retired, or Vault sealed or lost.
// [Store.ForgetKeys] ends that at once. And for so
// long data keys are in memory, where a core dump finds them. They are wiped when
// they are evicted or that old, also if the Store is not used any more.
//
// Nothing else changes. A data key is found by exactly the header, store ID
// and object name that it has authenticated when Vault sent it, so an object that was put
// again, copied, renamed, rewrapped or tampered with is asked for anew. Only what Vault has
// unwrapped is kept: a put leaves nothing, so whoever may encrypt and not decrypt
// can't read.
type KeyCache struct {
	// Keys is how many data keys are kept at most, up to 1,048,576. Each takes some
	// 250 bytes. Zero switches the cache off. Those that are used again stay
	// longest.
	Keys int

	// MaxAge is how long a data key is used after Vault was asked for it, up to 24
	// hours, by a clock that stands still while the machine sleeps. Zero means one
	// minute.
	MaxAge time.Duration
}

// ForgetKeys wipes the data keys that are kept for [Config].KeyCache. A call that
// begins later asks Vault. What was begun before, and Readers that are open, go on,
// and leave nothing there. Without a cache ForgetKeys does nothing.
func (s *Store) ForgetKeys() { s.cache.forget() }

// newKeyCache returns nil, a cache that keeps nothing, if it is switched off.
func newKeyCache(cfg KeyCache) (*keyCache, error) {
	if cfg.MaxAge == 0 {
		cfg.MaxAge = defaultKeyAge
	}
	switch {
	case cfg.Keys < 0 || cfg.Keys > maxCachedKeys:
		return nil, fmt.Errorf("Config.KeyCache.Keys must be 0 to %d", maxCachedKeys)
	case cfg.MaxAge < 0 || cfg.MaxAge > maxKeyAge:
		return nil, errors.New("Config.KeyCache.MaxAge must be 0 to 24 hours")
	case cfg.Keys == 0:
		return nil, nil
	}
	c := &keyCache{limit: cfg.Keys, maxAge: cfg.MaxAge, keys: make(map[keyID]*cachedKey)}
	c.ends.older, c.ends.newer = &c.ends, &c.ends
	return c, nil
}

// A keyCache keeps the keys of objects by the headers that were authenticated with them. It
// may be used concurrently, and a nil one keeps nothing.
//
// What is found needs no authentication again: of 1 KiB from PostgreSQL by 64 callers, that
// was a seventh of the client's time and half of its allocations.
//
// The keys stay in the order in which they came, which is that of their age. They
// are evicted by SIEVE (Zhang and others, "SIEVE is Simpler than LRU", NSDI 2024):
// a hit marks a key, and a hand that goes from old to new takes the first key
// without a mark, and the marks of those before it. A walk over many objects so
// displaces other walks' keys and not those that are read again and again.
//
// All that can print a Store comes upon the pointer to the cache and stops there.
type keyCache struct {
	limit  int
	maxAge time.Duration

	mu    sync.Mutex
	keys  map[keyID]*cachedKey
	ends  cachedKey  // before the oldest key and after the newest; no key itself
	hand  *cachedKey // where the search for the next to evict begins; nil: at the oldest
	timer *time.Timer
	era   uint64 // how often all was forgotten
}

// A cachedKey is the keys of one object. It is not used again after it was wiped, so that
// what it held can't be taken for another's.
type cachedKey struct {
	id           keyID
	keys         objectKeys
	expires      time.Time
	marked       bool
	older, newer *cachedKey
}

// A keyID stands for a header and the context of its key. It is made of nothing secret,
// and comparing two takes no secret into account, so the time that it takes tells
// nothing but what the time of asking Vault would.
type keyID [sha256.Size]byte

// newKeyID hashes the context, which is of a fixed length and stands for the store's ID and
// the object's name, and all of the header.
func newKeyID(h *header, keyContext []byte) keyID {
	var room [sha256.Size + maxHeaderBytes]byte
	return sha256.Sum256(h.appendTo(append(room[:0], keyContext...)))
}

// A question is what Vault has to be asked because the cache did not know.
type question struct {
	id    keyID
	asked time.Time
	era   uint64
}

// lookup returns a copy of the keys that have authenticated the header, which the caller
// wipes, or nil and what keep takes once Vault has answered.
func (c *keyCache) lookup(h *header, keyContext []byte) (*objectKeys, question) {
	if c == nil {
		return nil, question{}
	}
	id, now := newKeyID(h, keyContext), time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.keys[id]
	if k != nil && now.Before(k.expires) {
		k.marked = true
		keys := k.keys
		return &keys, question{}
	}
	if k != nil {
		c.drop(k)
	}
	return nil, question{id, now, c.era}
}

// keep keeps a copy of the keys that are the answer to a question. The caller has
// authenticated the header with them.
func (c *keyCache) keep(q question, keys *objectKeys) {
	if c == nil || q.asked.IsZero() {
		return
	}
	k := &cachedKey{id: q.id, expires: q.asked.Add(c.maxAge)}
	c.mu.Lock()
	defer c.mu.Unlock()
	// Somebody else who asked the same may have been first. An answer from before
	// all was forgotten counts no more.
	if c.keys[q.id] != nil || q.era != c.era || !time.Now().Before(k.expires) {
		return
	}
	if len(c.keys) == c.limit {
		c.evict()
	}
	k.keys = *keys
	k.older, k.newer = c.ends.older, &c.ends
	k.older.newer, k.newer.older = k, k
	c.keys[k.id] = k
	if c.timer == nil {
		c.schedule()
	}
}

// evict makes room for one key.
func (c *keyCache) evict() {
	k := c.hand
	for k == nil || k == &c.ends || k.marked {
		if k == nil || k == &c.ends {
			k = c.ends.newer
			continue
		}
		k.marked = false
		k = k.newer
	}
	c.hand = k // drop moves it on
	c.drop(k)
}

// drop wipes a key and takes it out.
func (c *keyCache) drop(k *cachedKey) {
	if c.hand == k {
		c.hand = k.newer
	}
	k.older.newer, k.newer.older = k.newer, k.older
	k.older, k.newer = nil, nil
	delete(c.keys, k.id)
	k.keys.wipe()
}

// forget drops all keys.
func (c *keyCache) forget() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.era++
	for k := c.ends.newer; k != &c.ends; k = c.ends.newer {
		c.drop(k)
	}
	c.schedule()
}

// expire drops the keys that have expired, and those that are about to: so it runs
// a hundred times in a MaxAge at most, however many keys come.
//
// A key that came late, from a Vault that was slow to answer, expires before older
// ones do. It is not used then, but is dropped with them. They came before it, so
// that is no later than MaxAge after it came.
func (c *keyCache) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	soon := time.Now().Add(c.maxAge / 100)
	for k := c.ends.newer; k != &c.ends && !k.expires.After(soon); k = c.ends.newer {
		c.drop(k)
	}
	c.schedule()
}

// schedule sets the timer for the oldest key. An empty cache has none, so it
// holds on to nothing and nothing holds on to it.
func (c *keyCache) schedule() {
	oldest := c.ends.newer
	switch {
	case oldest == &c.ends:
		if c.timer != nil {
			c.timer.Stop() // if it is too late for that, expire finds nothing
			c.timer = nil
		}
	case c.timer == nil:
		c.timer = time.AfterFunc(time.Until(oldest.expires), c.expire)
	default:
		c.timer.Reset(time.Until(oldest.expires))
	}
}
