package seal

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"

	"github.com/atrest/atrest"
)

// An InstanceKey gives the key that opens this machine's password file. It is
// what ties that file to the machine, so it should be where a copy of the disk,
// or at least a backup of the files, does not have it: see [Credential].
//
// InstanceKey returns 32 bytes, in a slice of its own, which the caller
// overwrites after use. It returns ErrInstanceKeyMissing if there is no key, and
// must not put a key into an error. It may be called more than once, and
// concurrently.
type InstanceKey interface {
	InstanceKey(ctx context.Context) ([]byte, error)
}

// maxKeyText is the length in bytes of a file that holds an instance key, at
// most. More than the key and a line break is an error anyway; this is so that
// nothing large is read.
const maxKeyText = 256

// environment is the name of a variable.
type environment string

// Environment returns the instance key in an environment variable, as base64 of
// 32 bytes. An empty variable is a missing one.
//
// This is the weakest of places: the environment is inherited by every process
// that this one starts, it stays readable in /proc for as long as this process
// lives, service managers and container engines show it to whoever may ask them, and
// it cannot be overwritten. Use it where nothing else is to be had.
func Environment(variable string) InstanceKey { return environment(variable) }

func (e environment) InstanceKey(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	text := os.Getenv(string(e))
	if text == "" {
		return nil, fmt.Errorf("%w: environment variable %q is not set", atrest.ErrInstanceKeyMissing, string(e))
	}
	if len(text) > maxKeyText {
		return nil, fmt.Errorf("environment variable %q: %w", string(e), errNoKey)
	}
	raw := []byte(text)
	defer wipe(raw)
	key, err := parseInstanceKey(raw)
	if err != nil {
		return nil, fmt.Errorf("environment variable %q: %w", string(e), err)
	}
	return key, nil
}

// readInstanceKey asks k and checks the answer, which may come from a caller's
// own code.
func readInstanceKey(ctx context.Context, k InstanceKey) ([]byte, error) {
	key, err := k.InstanceKey(ctx)
	if err != nil {
		wipe(key)
		return nil, err
	}
	if len(key) != keySize {
		wipe(key)
		return nil, fmt.Errorf("%w: it must have %d bytes", atrest.ErrWrongInstanceKey, keySize)
	}
	return key, nil
}

var errNoKey = fmt.Errorf("%w: what is there is not a key, which is one line of base64 of %d bytes", atrest.ErrWrongInstanceKey, keySize)

// parseInstanceKey decodes canonical base64, with or without padding and a final
// line break, of 32 bytes.
func parseInstanceKey(text []byte) ([]byte, error) {
	if n := len(text); n > 0 && text[n-1] == '\n' {
		text = text[:n-1]
	}
	unpadded := base64.RawStdEncoding.EncodedLen(keySize)
	if len(text) == unpadded+1 && text[unpadded] == '=' {
		text = text[:unpadded]
	}
	if len(text) != unpadded {
		return nil, errNoKey
	}
	// Had it a line break within, which Go's decoder passes over, it would be too
	// short.
	key := make([]byte, base64.RawStdEncoding.DecodedLen(unpadded))
	n, err := base64.RawStdEncoding.Strict().Decode(key, text)
	if err != nil || n != keySize {
		wipe(key)
		return nil, errNoKey
	}
	return key, nil
}
