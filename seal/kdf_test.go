package seal

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend/memory"
)

func TestArgon2Bounds(t *testing.T) {
	for a, want := range map[Argon2id]struct{ read, write bool }{
		{3, 65536, 4}:                     {true, true},
		{2, 19456, 1}:                     {true, true},
		{1, 65536, 4}:                     {true, false},
		{2, 19455, 1}:                     {true, false},
		{1, 8, 1}:                         {true, false},
		{1, 7, 1}:                         {false, false},
		{1, 127, 16}:                      {false, false},
		{1, 128, 16}:                      {true, false},
		{16, 262144, 16}:                  {true, true},
		{17, 65536, 4}:                    {false, false},
		{3, 65536, 17}:                    {false, false},
		{4, 1 << 20, 16}:                  {true, true},
		{5, 1 << 20, 16}:                  {false, false},
		{2, 1<<20 + 1, 4}:                 {false, false},
		{16, 262145, 4}:                   {false, false},
		{0, 65536, 4}:                     {false, false},
		{3, 65536, 0}:                     {false, false},
		{1 << 31, 1 << 31, 16}:            {false, false},
		{1<<32 - 1, 1<<32 - 1, 1<<32 - 1}: {false, false},
	} {
		if a.readable() != want.read || (a.check() == nil) != want.write {
			t.Errorf("%+v: %v, %v", a, a.readable(), a.check())
		}
	}
	if d := (Argon2id{}).withDefaults(); d != (Argon2id{3, 65536, 4}) || d.check() != nil {
		t.Errorf("defaults are %+v", d)
	}
	if a := (Argon2id{5, 32768, 2}); a.withDefaults() != a {
		t.Error("defaults replace what was set")
	}
}

// New says once whose error it is, and what the bound is.
func TestArgon2BoundsInNew(t *testing.T) {
	for params, want := range map[Argon2id]string{
		{Passes: 16, MemoryKiB: 1 << 20}: "at most 16 passes, 1048576 KiB, 16 lanes, and 4194304 KiB over all passes",
		{Passes: 1}:                      "too cheap",
	} {
		client, err := apiClient(nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = New(Config{Vault: client, Records: memory.NewRecords(), InstanceKey: fixedKey(1), PasswordFile: "password", Argon2id: params})
		if err == nil || !strings.HasPrefix(err.Error(), "seal: Argon2id with ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", params, err)
		}
	}
}

// A forged record is refused before it costs anything.
func TestForgedParametersCostNothing(t *testing.T) {
	_, r := mustSeal(t, cheapKDF(t), headerOf(stateReady), &payload{keys: keysOf(1)}, testPassword)
	forge := func(params string) []byte {
		line := string(r.marshal())
		forged := strings.Replace(line, "m=8,t=1,p=1", params, 1)
		if forged == line {
			t.Fatal("nothing was replaced")
		}
		return []byte(forged)
	}
	for _, params := range []string{
		"m=1048577,t=1,p=1", "m=4294967295,t=1,p=1", "m=4294967296,t=1,p=1", "m=99999999999999999999,t=1,p=1",
		"m=8,t=17,p=1", "m=8,t=4294967295,p=1", "m=136,t=1,p=17", "m=1048576,t=1,p=255", "m=1048576,t=1,p=256",
		"m=1048576,t=5,p=4", "m=7,t=1,p=1", "m=8,t=1,p=2", "m=0,t=1,p=1", "m=8,t=0,p=1", "m=8,t=1,p=0", "m=-8,t=1,p=1",
		"m=08,t=1,p=1", "m=+8,t=1,p=1", "m=8,t=1,p=1,x=1", "t=1,m=8,p=1", "m=8,t=1", "m= 8,t=1,p=1", "m=8_0,t=1,p=1", "m=0x8,t=1,p=1",
	} {
		forged := forge(params)
		start := time.Now()
		bytesUsed := allocated(func() {
			_, err := parseRecord(forged)
			wantError(t, err, atrest.ErrCorruptRecord)
		})
		if took := time.Since(start); took > 2*time.Second || bytesUsed > 1<<20 {
			t.Errorf("%s: %v and %d bytes", params, took, bytesUsed)
		}
	}
	// What is within the caps parses; nothing is computed before open.
	if bytesUsed := allocated(func() {
		if _, err := parseRecord(forge("m=1048576,t=4,p=16")); err != nil {
			t.Error(err)
		}
	}); bytesUsed > 1<<20 {
		t.Errorf("parsing took %d bytes", bytesUsed)
	}
	// What did not come through parse is refused nevertheless.
	r.params.MemoryKiB = 1 << 31
	if bytesUsed := allocated(func() {
		if _, err := r.open(&kdfCache{}, secretOf(testPassword)); err == nil {
			t.Error("opened")
		}
	}); bytesUsed > 1<<20 {
		t.Errorf("opening took %d bytes", bytesUsed)
	}
}

func TestFloors(t *testing.T) {
	h := headerOf(stateIntent)
	p := payloads()["intent"].p
	for _, a := range []Argon2id{cheapParams, {1, 65536, 4}, {2, 19455, 1}, {3, 65536, 17}} {
		h.params = a
		if _, err := sealRecord(&kdfCache{}, h, p, secretOf(testPassword)); err == nil {
			t.Errorf("sealed with %+v", a)
		}
	}
	h.params = Argon2id{2, 19456, 1}
	if _, err := sealRecord(&kdfCache{}, h, p, secretOf(testPassword)); err != nil {
		t.Error(err)
	}
}

// The test vector of RFC 9106 has a secret and associated data, which the
// package argon2 does not take. This one is of the reference implementation's
// test.c: Argon2id, version 0x13, t=2, m=2^16, p=1, "password", "somesalt".
func TestArgon2id(t *testing.T) {
	const want = "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"
	got := argon2idOf([]byte("password"), []byte("somesalt"), 2, 65536, 1)
	if hex.EncodeToString(got) != want {
		t.Errorf("%x", got)
	}
}

func TestKDFCache(t *testing.T) {
	k := cheapKDF(t)
	derive := func(password string, s salt, a Argon2id) string {
		t.Helper()
		key, err := k.key(secretOf(password), s, a)
		if err != nil {
			t.Fatal(err)
		}
		defer key.wipe() // must not harm the cache
		return string(key.bytes())
	}
	s, other := newSalt(), newSalt()
	more := Argon2id{2, 8, 1}
	first := derive(testPassword, s, cheapParams)
	if len(first) != keySize || len(k.keys) != 1 {
		t.Fatalf("%d bytes, %d cached", len(first), len(k.keys))
	}
	if derive(testPassword, s, cheapParams) != first || len(k.keys) != 1 {
		t.Error("was not cached")
	}
	// The same salt must not open for another password.
	for i, again := range []string{derive("another password", s, cheapParams), derive(testPassword, other, cheapParams), derive(testPassword, s, more)} {
		if again == first {
			t.Errorf("%d: the same key", i)
		}
	}
	for range 10 {
		derive(testPassword, newSalt(), cheapParams)
	}
	if len(k.keys) != cachedKeys {
		t.Errorf("%d are cached", len(k.keys))
	}
	if derive(testPassword, s, cheapParams) != first {
		t.Error("what was dropped is derived otherwise")
	}
	k.close()
	if derive(testPassword, s, cheapParams) != first || len(k.keys) != 0 {
		t.Error("closed: wrong key, or cached")
	}
}

// A boot costs one computation, whoever opens the record.
func TestKDFCacheConcurrent(t *testing.T) {
	k := cheapKDF(t)
	_, r := mustSeal(t, k, headerOf(stateReady), &payload{keys: keysOf(1)}, testPassword)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			p, err := r.open(k, secretOf(testPassword))
			if err != nil {
				t.Error(err)
				return
			}
			p.wipe()
		})
	}
	wg.Wait()
	if len(k.keys) != 1 {
		t.Errorf("%d were computed", len(k.keys))
	}
}

func TestCachedKeyMakesNoWrongPasswordRight(t *testing.T) {
	k := cheapKDF(t)
	_, r := mustSeal(t, k, headerOf(stateReady), &payload{keys: keysOf(1)}, testPassword)
	for range 2 {
		_, err := r.open(k, secretOf("another password"))
		wantError(t, err, atrest.ErrWrongPassword)
		if _, err := r.open(k, secretOf(testPassword)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDefaultParametersWorkOnce(t *testing.T) {
	k := &kdfCache{}
	defer k.close()
	h := headerOf(stateReady)
	h.params = Argon2id{}.withDefaults()
	data, r := mustSeal(t, k, h, &payload{keys: keysOf(1)}, testPassword)
	if !bytes.Contains(data, fmt.Append(nil, "$argon2id$v=19$m=65536,t=3,p=4$")) {
		t.Errorf("%s", data)
	}
	if _, err := r.open(k, secretOf(testPassword)); err != nil || len(k.keys) != 1 {
		t.Errorf("%v, %d", err, len(k.keys))
	}
}
