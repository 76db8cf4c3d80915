package seal

import (
	"crypto/rand"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/atrest/atrest"
)

// Bounds of a password, in bytes. A guess costs an attacker as much as it costs
// us, about a tenth of a second of a core and 64 MiB: what people choose in
// fewer than 12 characters falls in days. A long password gains nothing beyond
// the 32 bytes of the key that is made of it; the bound is there so that the
// password file has one.
const (
	minPassword = 12
	maxPassword = 1024
)

// generatedPassword is the length of a generated password: 26 characters of 5
// bits each are 130 bits.
const generatedPassword = 26

// base32 of RFC 4648, section 6: no two letters that look alike, one case.
const passwordAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

// GeneratePassword returns a random Encryption Password of 26 characters, which
// are capital letters and digits, with 130 bits of randomness. Keep it outside
// of this machine: it is what recovers a lost one. The caller overwrites it after
// use.
func GeneratePassword() []byte {
	p := make([]byte, generatedPassword)
	rand.Read(p) // never fails: it would end the program
	for i, b := range p {
		p[i] = passwordAlphabet[b%32]
	}
	return p
}

// checkPassword returns ErrWeakPassword for what must not become a password. An
// existing one is not checked: if it opens the record, it is the password.
func checkPassword(password []byte) error {
	if len(password) < minPassword || len(password) > maxPassword {
		return fmt.Errorf("%w: it must have %d to %d bytes", atrest.ErrWeakPassword, minPassword, maxPassword)
	}
	if !utf8.Valid(password) {
		return fmt.Errorf("%w: it is not UTF-8", atrest.ErrWeakPassword)
	}
	for rest := password; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		if unicode.IsControl(r) {
			return fmt.Errorf("%w: it has a control character, such as a line break at its end", atrest.ErrWeakPassword)
		}
		rest = rest[n:]
	}
	return nil
}
