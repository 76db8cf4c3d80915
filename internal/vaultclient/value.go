package vaultclient

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
)

const redacted = "[redacted]"

// Base64Bytes is a secret that Vault sends as base64, decoded. It decodes itself
// from the JSON text, so that the base64 never becomes a string, which could not be
// wiped; see [Wipe]. Printed or encoded, it shows nothing.
type Base64Bytes []byte

// UnmarshalJSON decodes a JSON string of canonical base64 without escapes,
// which is what Vault sends.
func (b *Base64Bytes) UnmarshalJSON(text []byte) error {
	Wipe(*b) // a second value under the same name
	*b = nil
	text, err := unquote(text)
	if err != nil {
		return err
	}
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(raw, text)
	if err != nil {
		Wipe(raw)
		return errors.New("not base64") // err would be safe, but says no more
	}
	*b = raw[:n]
	return nil
}

// Format writes nothing of the secret, whatever the verb.
func (b Base64Bytes) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText gives nothing of the secret, to a log in particular.
func (b Base64Bytes) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// TextBytes is a secret that Vault sends as text, such as a token or an unseal key
// in hexadecimal. Like [Base64Bytes], it never becomes a string on its way, and
// shows nothing.
type TextBytes []byte

// UnmarshalJSON decodes a JSON string of printable ASCII without escapes.
func (b *TextBytes) UnmarshalJSON(text []byte) error {
	Wipe(*b)
	*b = nil
	text, err := unquote(text)
	if err != nil {
		return err
	}
	if !plain(text) {
		return errors.New("not a string of printable ASCII without escapes")
	}
	*b = append(make([]byte, 0, len(text)), text...)
	return nil
}

// Format writes nothing of the secret, whatever the verb.
func (b TextBytes) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText gives nothing of the secret, to a log in particular.
func (b TextBytes) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// unquote returns what is between the quotes of a JSON string.
func unquote(text []byte) ([]byte, error) {
	if len(text) < 2 || text[0] != '"' {
		return nil, errors.New("not a string")
	}
	return text[1 : len(text)-1], nil
}

// plain tells whether text is the same within a JSON string as outside.
func plain[T string | []byte](text T) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
