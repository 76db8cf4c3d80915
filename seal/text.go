package seal

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
)

// Both formats are lines of fields that end in "$", with numbers in decimal and
// bytes in base64 without padding (RFC 4648, section 4).

// installIDSize is the length of an installID in characters.
const installIDSize = 22

// An installID tells installations apart, all that share one seal record being
// one: 16 random bytes in base64url without padding (RFC 4648, section 5).
type installID string

func newInstallID() installID {
	var id [16]byte
	rand.Read(id[:])
	return installID(base64.RawURLEncoding.EncodeToString(id[:]))
}

func (id installID) valid() bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(string(id))
	return err == nil && len(raw) == 16 && len(id) == installIDSize
}

// An attemptID tells attempts to set up one installation apart: 16 random bytes
// in lower-case hexadecimal, so that it can be part of a record's name.
type attemptID string

func newAttemptID() attemptID {
	var id [16]byte
	rand.Read(id[:])
	return attemptID(hex.EncodeToString(id[:]))
}

func (id attemptID) valid() bool {
	raw, err := hex.DecodeString(string(id))
	return err == nil && len(raw) == 16 && hex.EncodeToString(raw) == string(id)
}

// A setID tells the sets of shares of an installation apart, in the form of an attemptID.
type setID = attemptID

func appendBase64(dst, b []byte) []byte { return base64.RawStdEncoding.AppendEncode(dst, b) }

// A scanner takes a line apart. After the first field that is not what it should
// be, bad is true and every result is empty.
//
// It accepts some spellings that are none: zeros before a number, and line breaks
// within base64, which Go's decoder passes over. So its users marshal what they
// have got, and compare.
type scanner struct {
	rest string
	bad  bool
}

func (s *scanner) fail() { s.rest, s.bad = "", true }

// literal passes over text.
func (s *scanner) literal(text string) {
	rest, ok := strings.CutPrefix(s.rest, text)
	if !ok {
		s.fail()
		return
	}
	s.rest = rest
}

// until returns what comes before end, and passes over end.
func (s *scanner) until(end string) string {
	field, rest, ok := strings.Cut(s.rest, end)
	if !ok {
		s.fail()
		return ""
	}
	s.rest = rest
	return field
}

// number is a decimal number from 1 to 2³²−1.
func (s *scanner) number(end string) uint32 {
	n, err := strconv.ParseUint(s.until(end), 10, 32)
	if err != nil || n == 0 {
		s.fail()
		return 0
	}
	return uint32(n)
}

func (s *scanner) install(end string) installID {
	id := installID(s.until(end))
	if !id.valid() {
		s.fail()
		return ""
	}
	return id
}

// fixed fills dst, whose length is known.
func (s *scanner) fixed(dst []byte, end string) {
	b := s.bytes(end)
	if len(b) != len(dst) {
		s.fail()
		return
	}
	copy(dst, b)
}

// bytes is bounded by what is left of the line.
func (s *scanner) bytes(end string) []byte {
	b, err := base64.RawStdEncoding.Strict().DecodeString(s.until(end))
	if err != nil {
		s.fail()
		return nil
	}
	return b
}
