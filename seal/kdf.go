package seal

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/crypto/argon2"
)

// Argon2id says how costly it is to make the record's key of the Encryption
// Password, and so to guess the password. See RFC 9106, whose words for the
// fields are "number of passes t", "memory size m" and "degree of parallelism p".
//
// A zero field stands for the default. What is asked for must be at least what
// OWASP's Password Storage Cheat Sheet recommends as a minimum, and Passes times
// MemoryKiB at most 4194304: four passes over 1 GiB, or 16 over 256 MiB.
type Argon2id struct {
	Passes    uint32 // 2 to 16, 3 by default
	MemoryKiB uint32 // in units of 1024 bytes: 19456 to 1048576 (1 GiB), 65536 (64 MiB) by default
	Lanes     uint32 // that may be computed in parallel: 1 to 16, 4 by default
}

// The defaults are the second recommended option of RFC 9106, section 4.
const (
	defaultPasses    = 3
	defaultMemoryKiB = 64 << 10
	defaultLanes     = 4
)

// The floors bind who writes a record, not who reads one.
const (
	minPasses    = 2
	minMemoryKiB = 19 << 10
)

// The caps bound what a forged record can make its reader spend before its
// forgery is found out: 1 GiB of memory, and as much work as four passes over it.
const (
	maxPasses    = 16
	maxMemoryKiB = 1 << 20
	maxLanes     = 16
	maxWorkKiB   = 4 * maxMemoryKiB
)

func (a Argon2id) withDefaults() Argon2id {
	if a.Passes == 0 {
		a.Passes = defaultPasses
	}
	if a.MemoryKiB == 0 {
		a.MemoryKiB = defaultMemoryKiB
	}
	if a.Lanes == 0 {
		a.Lanes = defaultLanes
	}
	return a
}

// readable reports whether a reader computes this.
func (a Argon2id) readable() bool {
	return 1 <= a.Passes && a.Passes <= maxPasses && 1 <= a.Lanes && a.Lanes <= maxLanes &&
		8*a.Lanes <= a.MemoryKiB && a.MemoryKiB <= maxMemoryKiB && // the floor is Argon2's own
		a.Passes*a.MemoryKiB <= maxWorkKiB // 16 GiB at most: no overflow
}

// check returns an error unless a writer may use this.
func (a Argon2id) check() error {
	if a.Passes < minPasses || a.MemoryKiB < minMemoryKiB {
		return fmt.Errorf("Argon2id with %d passes over %d KiB is too cheap: at least %d passes over %d KiB",
			a.Passes, a.MemoryKiB, minPasses, minMemoryKiB)
	}
	if !a.readable() {
		return fmt.Errorf("Argon2id with %d passes over %d KiB in %d lanes is not within its bounds: at most %d passes, %d KiB, %d lanes, and %d KiB over all passes",
			a.Passes, a.MemoryKiB, a.Lanes, maxPasses, maxMemoryKiB, maxLanes, maxWorkKiB)
	}
	return nil
}

// errUnreadable never reaches a caller: parse and seal check before.
var errUnreadable = errors.New("Argon2id parameters out of bounds")

// cachedKeys is how many a kdfCache holds: the key of the present password, and
// that of the next one while it is being changed, each as it was and as rewritten.
const cachedKeys = 4

// A kdfCache computes Argon2id and remembers the results, so that one boot costs
// one computation. It computes one at a time: memory is bounded that way. It may
// be used concurrently; the zero value is ready for use.
type kdfCache struct {
	mu     sync.Mutex
	keys   []cachedKey // oldest first
	closed bool

	// cheap lets tests of this package seal with parameters below the floors.
	cheap bool
}

// A cachedKey holds all of its inputs: one that was found by the salt alone
// would open a record to a wrong password.
type cachedKey struct {
	params   Argon2id
	salt     salt
	password *secret
	key      *secret
}

// key returns the 32 bytes that Argon2id makes of the password. The caller wipes
// them.
func (c *kdfCache) key(password *secret, s salt, params Argon2id) (*secret, error) {
	if !params.readable() {
		return nil, errUnreadable
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.keys {
		if k.params == params && k.salt == s && k.password.equal(password) {
			return k.key.clone(), nil
		}
	}
	key := newSecret(argon2.IDKey(password.bytes(), s[:], params.Passes, params.MemoryKiB, uint8(params.Lanes), keySize))
	if !c.closed {
		c.keep(cachedKey{params, s, password.clone(), key.clone()})
	}
	return key, nil
}

func (c *kdfCache) keep(k cachedKey) {
	if len(c.keys) == cachedKeys {
		c.keys[0].wipe()
		c.keys = append(c.keys[:0], c.keys[1:]...)
	}
	c.keys = append(c.keys, k)
}

// close wipes what is remembered. From then on nothing is.
func (c *kdfCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.keys {
		k.wipe()
	}
	c.keys, c.closed = nil, true
}

func (k cachedKey) wipe() {
	k.password.wipe()
	k.key.wipe()
}
