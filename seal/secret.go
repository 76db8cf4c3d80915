package seal

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[secret]"

// A secret is bytes that no log, error or dump may show. However it is printed
// or encoded, it reads "[secret]".
//
// The bytes are behind two pointers because fmt calls no methods on what it
// finds in unexported fields. There it prints addresses, but for a verb that does
// not suit a pointer, such as %s, it follows the first one.
//
// The zero secret and the nil *secret are empty. Wiping must not be concurrent
// with any other use.
type secret struct {
	box *secretBox
}

type secretBox struct {
	data *[]byte
}

// newSecret makes a secret of b, which it takes over.
func newSecret(b []byte) *secret { return &secret{&secretBox{&b}} }

// bytes returns the bytes themselves: valid, and not to be changed, until wiped.
func (s *secret) bytes() []byte {
	if s == nil || s.box == nil {
		return nil
	}
	return *s.box.data
}

// size is the number of bytes.
func (s *secret) size() int { return len(s.bytes()) }

// clone returns a copy that is wiped on its own.
func (s *secret) clone() *secret {
	return newSecret(append(make([]byte, 0, s.size()), s.bytes()...))
}

// equal compares in a time that depends on the lengths only.
func (s *secret) equal(o *secret) bool {
	return subtle.ConstantTimeCompare(s.bytes(), o.bytes()) == 1
}

// wipe overwrites the bytes as well as Go lets us, and leaves s empty. It may be
// called again.
func (s *secret) wipe() {
	if s == nil || s.box == nil {
		return
	}
	wipe(*s.box.data)
	*s.box.data = nil
}

// The methods below have value receivers so that they serve secret and *secret.

func (secret) String() string                 { return redacted }
func (secret) GoString() string               { return redacted }
func (secret) Format(f fmt.State, _ rune)     { io.WriteString(f, redacted) }
func (secret) LogValue() slog.Value           { return slog.StringValue(redacted) }
func (secret) MarshalText() ([]byte, error)   { return []byte(redacted), nil }
func (secret) MarshalJSON() ([]byte, error)   { return []byte(`"` + redacted + `"`), nil }
func (secret) MarshalBinary() ([]byte, error) { return []byte(redacted), nil }

// wipe overwrites b, with what lies between its length and its capacity.
func wipe(b []byte) { clear(b[:cap(b)]) }
