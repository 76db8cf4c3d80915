package seal

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atrest/atrest"
)

var keyText = base64.StdEncoding.EncodeToString(keyOf(7))

// keyTexts are contents of a key file, and whether they are a key.
var keyTexts = map[string]bool{
	keyText:                            true,
	keyText + "\n":                     true,
	strings.TrimRight(keyText, "="):    true,
	keyText[:43] + "\n":                true,
	"":                                 false,
	"\n":                               false,
	keyText + "\n\n":                   false,
	keyText + "\r\n":                   false,
	" " + keyText:                      false,
	keyText + " ":                      false,
	keyText + "=":                      false,
	keyText[:42] + "\n=":               false,
	keyText[:20] + "\n" + keyText[20:]: false,
	keyText[:20] + "\n" + keyText[21:]: false,
	keyText[:42] + "d=":                false, // not canonical: bits that mean nothing are set
	keyText[:42]:                       false,
	keyText[:40]:                       false,
	strings.Repeat("A", 44):            false, // 33 bytes
	strings.Repeat("-", 43):            false, // base64url
	strings.Repeat("!", 43):            false,
	string(keyOf(7)):                   false, // raw
	strings.Repeat("07", 32):           false, // hexadecimal
	keyText + keyText:                  false,
	strings.Repeat("A", 256):           false,
	strings.Repeat("A", 257):           false,
	strings.Repeat("A", 1<<20):         false,
	"\x00" + keyText[1:]:               false,
}

func TestKeyTexts(t *testing.T) {
	const variable = "SEAL_TEST_KEY"
	dir := privateDir(t)
	t.Setenv(credentialsDirectory, dir)
	file := filepath.Join(dir, "key")
	for text, good := range keyTexts {
		os.Remove(file)
		mustWrite(t, file, text, 0o400)
		sources := map[string]InstanceKey{"file": KeyFile(file), "credential": Credential("key")}
		if text != "" && len(text) < 1<<17 && !strings.Contains(text, "\x00") { // what an environment can hold
			t.Setenv(variable, text)
			sources["environment"] = Environment(variable)
		}
		for name, source := range sources {
			key, err := source.InstanceKey(t.Context())
			if good && (err != nil || !bytes.Equal(key, keyOf(7))) {
				t.Errorf("%s %q: %v", name, text, err)
			}
			if !good {
				wantError(t, err, atrest.ErrWrongInstanceKey)
				if key != nil {
					t.Errorf("%s %q: a key and an error", name, text)
				}
			}
		}
	}
}

func TestInstanceKeyMissing(t *testing.T) {
	dir := privateDir(t)
	t.Setenv("SEAL_TEST_EMPTY", "")
	missing := []InstanceKey{
		KeyFile(filepath.Join(dir, "none")), KeyFile(filepath.Join(dir, "no", "directory")), Environment("SEAL_TEST_EMPTY"),
		Environment("SEAL_TEST_NONE"), Environment(""),
	}
	check := func(keys []InstanceKey) {
		t.Helper()
		for _, k := range keys {
			_, err := k.InstanceKey(t.Context())
			wantError(t, err, atrest.ErrInstanceKeyMissing)
		}
	}
	check(missing)
	for _, credentials := range []string{"", "relative", dir} {
		t.Setenv(credentialsDirectory, credentials)
		check([]InstanceKey{Credential("key"), Credential(""), Credential("."), Credential(".."), Credential("../key"), Credential("a/b"), Credential(`a\b`)})
	}
}

func TestInstanceKeyContext(t *testing.T) {
	t.Setenv(credentialsDirectory, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, k := range []InstanceKey{KeyFile("/"), Credential("key"), Environment("HOME")} {
		_, err := k.InstanceKey(ctx)
		wantError(t, err, context.Canceled)
	}
}

// ownKey is a caller's implementation.
type ownKey struct {
	key []byte
	err error
}

func (k ownKey) InstanceKey(context.Context) ([]byte, error) { return bytes.Clone(k.key), k.err }

func TestOwnInstanceKey(t *testing.T) {
	broken := errors.New("broken")
	if key, err := readInstanceKey(t.Context(), ownKey{key: keyOf(1)}); err != nil || !bytes.Equal(key, keyOf(1)) {
		t.Errorf("%v", err)
	}
	if key, err := readInstanceKey(t.Context(), ownKey{keyOf(1), broken}); !errors.Is(err, broken) || key != nil {
		t.Errorf("%v", err)
	}
	for _, key := range [][]byte{nil, {}, keyOf(1)[:31], append(keyOf(1), 1)} {
		_, err := readInstanceKey(t.Context(), ownKey{key: key})
		wantError(t, err, atrest.ErrWrongInstanceKey)
	}
}

func TestCreateKeyFile(t *testing.T) {
	dir := privateDir(t)
	path := filepath.Join(dir, "key")
	if err := CreateKeyFile(path); err != nil {
		t.Fatal(err)
	}
	first, err := KeyFile(path).InstanceKey(t.Context())
	if err != nil || len(first) != keySize {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || hasModes && info.Mode() != 0o400 || info.Size() != 45 {
		t.Errorf("%v %v", info, err)
	}
	wantError(t, CreateKeyFile(path), atrest.ErrExists)
	again, err := KeyFile(path).InstanceKey(t.Context())
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("the key has changed: %v", err)
	}
	if err := CreateKeyFile(path + "2"); err != nil {
		t.Fatal(err)
	}
	other, err := KeyFile(path + "2").InstanceKey(t.Context())
	if err != nil || bytes.Equal(first, other) {
		t.Errorf("the same key twice: %v", err)
	}
	wantError(t, CreateKeyFile(filepath.Join(dir, "no", "key")), os.ErrNotExist)
	if names := namesIn(t, dir); len(names) != 2 {
		t.Errorf("%q", names)
	}
}
