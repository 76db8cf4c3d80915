package seal

import (
	"regexp"
	"strings"
	"testing"

	"github.com/atrest/atrest"
)

func TestCheckPassword(t *testing.T) {
	for p, good := range map[string]bool{
		"":                            false,
		"elevenbytes":                 false,
		"twelve bytes":                true,
		"zwölf Bytes!":                true,
		strings.Repeat("x", 1024):     true,
		strings.Repeat("x", 1025):     false,
		"a password\x00 with a NUL":   false,
		"a password with its line\n":  false,
		"a password with its line\r":  false,
		"a password \x1b[0m":          false,
		"a password with a DEL\x7f":   false,
		"a password with \u0085 NEL":  false,
		"a password not UTF-8 \xff":   false,
		"a password \xed\xa0\x80":     false, // half of a pair
		"a password, with \ufffd too": true,
		"日本語の合言葉":                     true,
	} {
		err := checkPassword([]byte(p))
		if good && err != nil {
			t.Errorf("%q: %v", p, err)
		} else if !good {
			wantError(t, err, atrest.ErrWeakPassword)
		}
	}
}

func TestGeneratePassword(t *testing.T) {
	seen := map[byte]bool{}
	last := ""
	for range 1000 {
		p := GeneratePassword()
		if !regexp.MustCompile(`^[A-Z2-7]{26}$`).Match(p) || string(p) == last || checkPassword(p) != nil {
			t.Fatalf("%q", p)
		}
		last = string(p)
		for _, c := range p {
			seen[c] = true
		}
	}
	if len(seen) != 32 {
		t.Errorf("only %d different characters", len(seen))
	}
}
