package seal

import (
	"encoding/binary"
	"fmt"

	"github.com/atrest/atrest"
)

const (
	passwordMagic = "$atrest-password$v=1$"
	passwordInfo  = "atrest password file v1"
	passwordPad   = 64

	// maxPasswordBox is two of the longest passwords, their lengths, and the tag.
	maxPasswordBox = (2*(2+maxPassword)+passwordPad-1)/passwordPad*passwordPad + tagSize
)

// A passwordLine is one line of a password file: all of it, sealed under one
// instance key. What it says in the clear is true once it has been opened.
type passwordLine struct {
	install    installID
	generation uint32
	salt       salt
	nonce      nonce
	box        []byte // ciphertext and tag
}

// parsePasswordLine takes a line, with its line break, apart.
func parsePasswordLine(line string) (*passwordLine, bool) {
	s := scanner{rest: line}
	l := &passwordLine{}
	s.literal(passwordMagic + "install=")
	l.install = s.install("$")
	s.literal("generation=")
	l.generation = s.number("$")
	s.fixed(l.salt[:], "$")
	s.fixed(l.nonce[:], "$")
	l.box = s.bytes("\n")
	return l, !s.bad && s.rest == "" && len(l.box) > tagSize && len(l.box) <= maxPasswordBox &&
		(len(l.box)-tagSize)%passwordPad == 0 && string(l.marshal()) == line
}

// prefix is what the box is authenticated with: the line up to it.
func (l *passwordLine) prefix() []byte {
	line := fmt.Appendf(nil, "%sinstall=%s$generation=%d$", passwordMagic, l.install, l.generation)
	line = append(appendBase64(line, l.salt[:]), '$')
	return append(appendBase64(line, l.nonce[:]), '$')
}

func (l *passwordLine) marshal() []byte {
	return append(appendBase64(l.prefix(), l.box), '\n')
}

// open returns the passwords; pending is nil if there is none. The error is
// ErrWrongInstanceKey, or ErrCorruptRecord if whoever sealed them did not keep
// to the format.
func (l *passwordLine) open(instanceKey []byte) (password, pending *secret, err error) {
	aead, err := newAEAD(instanceKey, l.salt, passwordInfo)
	if err != nil {
		return nil, nil, err
	}
	plain, err := aead.Open(nil, l.nonce[:], l.box, l.prefix())
	if err != nil {
		return nil, nil, atrest.ErrWrongInstanceKey
	}
	defer wipe(plain)
	password, rest, ok := cutPassword(plain)
	if !ok || password.size() == 0 {
		return nil, nil, atrest.ErrCorruptRecord
	}
	pending, rest, ok = cutPassword(rest)
	if !ok || !isPadding(rest) || pending.size() > 0 && l.generation+1 == 0 {
		password.wipe()
		pending.wipe()
		return nil, nil, atrest.ErrCorruptRecord
	}
	if pending.size() == 0 {
		pending = nil
	}
	return password, pending, nil
}

// seal fills the box.
func (l *passwordLine) seal(instanceKey []byte, password, pending *secret) error {
	aead, err := newAEAD(instanceKey, l.salt, passwordInfo)
	if err != nil {
		return err
	}
	plain := make([]byte, 0, maxPasswordBox)
	defer func() { wipe(plain) }()
	plain = appendPassword(plain, password)
	plain = appendPassword(plain, pending)
	plain = pad(plain, passwordPad, 0)
	l.box = aead.Seal(nil, l.nonce[:], plain, l.prefix())
	return nil
}

// appendPassword appends the length in two bytes, big-endian, and the password.
func appendPassword(dst []byte, password *secret) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(password.size()))
	return append(dst, password.bytes()...)
}

func cutPassword(b []byte) (password *secret, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; n > maxPassword || n > len(b) {
		return nil, nil, false
	}
	return newSecret(append(make([]byte, 0, n), b[:n]...)), b[n:], true
}

// isPadding reports whether b is what pad has appended.
func isPadding(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return len(b) < passwordPad
}
