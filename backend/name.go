package backend

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/atrest/atrest"
)

// MaxEscapedName is the length in bytes of the longest escaped name. S3 ends
// keys at 1,024 bytes; the rest is for a bucket prefix and a backend's suffix.
const MaxEscapedName = 900

// maxComponent is how many bytes of an escaped name may stand between two
// slashes before a break is put in. File systems end a component at 255 bytes,
// and an S3 server that keeps objects as files may not replace one whose last
// component has more than 227 (VersityGW 1.8.0, measured); the rest is room for
// a unit of three bytes, the break itself, and a backend's suffix.
const maxComponent = 220

const hexDigits = "0123456789ABCDEF"

// Escape returns the form in which backends store a name: ASCII letters, digits
// and "-_./" as they are, everything that some engine would rewrite, refuse or
// misread as "!XX". It is the identity for ordinary names such as
// team/app/state-1.json, and a bijection between names and escaped names, so
// that two names never meet in one place on any engine.
//
// The rules, applied byte by byte from the left (docs/format.md, "Names"):
//
//   - A–Z a–z 0–9 - _ stand for themselves.
//   - "." stands for itself, except at the start of a component, where it is
//     "!2E": no component is "." or ".." or hidden.
//   - "/" stands for itself, except at the start of a component, where it is
//     "!2F": no component is empty.
//   - Every other byte is "!" and two upper-case hexadecimal digits.
//   - Before a byte that would follow 220 or more bytes of one component, other
//     than a "/" that ends it, stands "!-/": no component is longer than
//     224 bytes.
//
// Because no rule looks ahead, the escaped form of a prefix is a prefix of the
// escaped form. A component that is exactly "x" can both be an object and have
// objects below it. Engines that keep objects as files therefore append "!" to
// the whole: no component of an escaped name ends with it, and it sorts before
// every byte that can follow, so that the order stays.
//
// It returns ErrInvalidName for a name that is empty, not valid UTF-8, contains
// NUL, or is longer than MaxEscapedName when escaped.
func Escape(name string) (string, error) {
	if name == "" {
		return "", fmt.Errorf("%w: it is empty", atrest.ErrInvalidName)
	}
	return EscapePrefix(name)
}

// EscapePrefix is [Escape] for the beginning of a name, which may be empty.
func EscapePrefix(prefix string) (string, error) {
	if len(prefix) > MaxEscapedName { // every byte escapes to one or more
		return "", errNameTooLong()
	}
	if !utf8.ValidString(prefix) {
		return "", fmt.Errorf("%w: it is not valid UTF-8", atrest.ErrInvalidName)
	}
	if strings.IndexByte(prefix, 0) >= 0 {
		return "", fmt.Errorf("%w: it contains a NUL byte", atrest.ErrInvalidName)
	}
	if isPlain(prefix) {
		return prefix, nil
	}
	escaped := escape(prefix)
	if len(escaped) > MaxEscapedName {
		return "", errNameTooLong()
	}
	return escaped, nil
}

func errNameTooLong() error {
	return fmt.Errorf("%w: it is longer than %d bytes when escaped", atrest.ErrInvalidName, MaxEscapedName)
}

// isPlain reports whether name is its own escaped form.
func isPlain(name string) bool {
	component := 0
	for i := range len(name) {
		c := name[i]
		if c == '/' && component > 0 {
			component = 0
			continue
		}
		if !literal(c, component) || component >= maxComponent {
			return false
		}
		component++
	}
	return true
}

// literal reports whether c, after component bytes of its component, stands
// for itself. The "/" that ends a component is the caller's affair.
func literal(c byte, component int) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		return true
	case c == '.':
		return component > 0
	}
	return false
}

func escape(name string) string {
	var b strings.Builder
	b.Grow(len(name) + 16)
	component := 0
	for i := range len(name) {
		c := name[i]
		if c == '/' && component > 0 {
			b.WriteByte('/')
			component = 0
			continue
		}
		if component >= maxComponent {
			b.WriteString("!-/")
			component = 0
		}
		if literal(c, component) {
			b.WriteByte(c)
			component++
			continue
		}
		b.Write([]byte{'!', hexDigits[c>>4], hexDigits[c&15]})
		component += 3
	}
	return b.String()
}

// Unescape returns the name whose escaped form is given. It returns
// ErrInvalidName for a string that Escape would not have produced, so that
// exactly one escaped form is accepted for each name.
func Unescape(escaped string) (string, error) {
	var b strings.Builder
	b.Grow(len(escaped))
	for i := 0; i < len(escaped); {
		rest := escaped[i:]
		switch {
		case rest[0] != '!':
			b.WriteByte(rest[0])
			i++
		case strings.HasPrefix(rest, "!-/"):
			i += 3
		case len(rest) >= 3:
			b.WriteByte(unhex(rest[1])<<4 | unhex(rest[2]))
			i += 3
		default:
			return "", errNotEscaped()
		}
	}
	// Escaping again is what makes the decoding strict: lower-case digits,
	// needless escapes, a break in the wrong place all come out differently.
	name := b.String()
	if again, err := Escape(name); err != nil || again != escaped {
		return "", errNotEscaped()
	}
	return name, nil
}

func errNotEscaped() error {
	return fmt.Errorf("%w: not the escaped form of any name", atrest.ErrInvalidName)
}

// unhex returns the value of an upper-case hexadecimal digit, or some value
// for anything else, which Unescape finds out by escaping again.
func unhex(c byte) byte {
	if c >= 'A' {
		return (c - 'A' + 10) & 15
	}
	return (c - '0') & 15
}
