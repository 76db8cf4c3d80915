package seal

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
)

// cheapParams make a guess cost nothing.
var cheapParams = Argon2id{Passes: 1, MemoryKiB: 8, Lanes: 1}

const testPassword = "correct horse battery staple"

// cheapKDF seals with cheapParams, too.
func cheapKDF(t testing.TB) *kdfCache {
	k := &kdfCache{cheap: true}
	t.Cleanup(k.close)
	return k
}

func secretOf(s string) *secret { return newSecret([]byte(s)) }

func keyOf(b byte) []byte { return bytes.Repeat([]byte{b}, keySize) }

func headerOf(state recordState) recordHeader {
	return recordHeader{install: newInstallID(), generation: 1, state: state, params: cheapParams, salt: newSalt()}
}

func keysOf(n int) *unsealKeys {
	k := &unsealKeys{threshold: (n + 1) / 2}
	for i := range n {
		k.shares = append(k.shares, secretOf("share-of-the-unseal-key-is-here!"+string(rune('A'+i%26))))
	}
	return k
}

func appRoleOf(name string) *appRole {
	return &appRole{mount: "approle", role: name, roleID: secretOf(name + "-role-id"),
		secretID: secretOf(name + "-secret-id"), accessor: secretOf(name + "-accessor")}
}

// payloads are one or more for each state.
func payloads() map[string]struct {
	state recordState
	p     *payload
} {
	type one = struct {
		state recordState
		p     *payload
	}
	attempt := attemptID(strings.Repeat("0123456789abcdef", 2))
	return map[string]one{
		"intent":    {stateIntent, &payload{attempt: attempt}},
		"candidate": {stateCandidate, &payload{attempt: attempt, keys: keysOf(5)}},
		"keys only": {stateReady, &payload{keys: keysOf(1)}},
		"approle":   {stateReady, &payload{keys: keysOf(1), appRole: appRoleOf("atrest")}},
		"apart":     {stateReady, &payload{keys: &unsealKeys{threshold: 2, set: attempt, count: 3}, pending: keysOf(3)}},
		"share":     {stateShare, &payload{share: &share{attempt, 255, secretOf("share-of-the-unseal-key-is-here!")}}},
		"all":       {stateReady, &payload{keys: keysOf(5), pending: keysOf(3), appRole: appRoleOf("old"), nextAppRole: appRoleOf("new")}},
	}
}

// mustSeal seals and parses again.
func mustSeal(t testing.TB, k *kdfCache, h recordHeader, p *payload, password string) ([]byte, *record) {
	t.Helper()
	data, err := sealRecord(k, h, p, secretOf(password))
	if err != nil {
		t.Fatal(err)
	}
	r, err := parseRecord(data)
	if err != nil {
		t.Fatal(err)
	}
	return data, r
}

// sealRaw seals any plaintext at all.
func sealRaw(t testing.TB, h recordHeader, plain []byte, password string) *record {
	t.Helper()
	key, err := cheapKDF(t).key(secretOf(password), h.salt, h.params)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := newAEAD(key.bytes(), h.salt, recordInfo)
	if err != nil {
		t.Fatal(err)
	}
	r := &record{recordHeader: h, nonce: newNonce()}
	r.box = aead.Seal(nil, r.nonce[:], plain, r.prefix())
	return r
}

func samePayload(a, b *payload) bool {
	return bytes.Equal(a.append(nil), b.append(nil))
}

func wantError(t testing.TB, err error, want ...error) {
	t.Helper()
	for _, w := range want {
		if errors.Is(err, w) {
			return
		}
	}
	t.Errorf("error is %v, want %v", err, want)
}

// privateDir is a directory that only this user can write; t.TempDir leaves
// that to the umask.
func privateDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "private")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func mustWrite(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// eachFlip calls do with data once for each of its bits, inverted.
func eachFlip(data []byte, do func(bit int, flipped []byte)) {
	for bit := range len(data) * 8 {
		flipped := bytes.Clone(data)
		flipped[bit/8] ^= 1 << (bit % 8)
		do(bit, flipped)
	}
}

func namesIn(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func apiClient(config *api.Config) (*api.Client, error) {
	c, err := api.NewClient(config)
	if err == nil {
		c.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	}
	return c, err
}
