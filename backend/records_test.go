package backend

import (
	"errors"
	"strings"
	"testing"

	"github.com/atrest/atrest"
)

func TestCheckRecordName(t *testing.T) {
	for _, name := range []string{"a", "0", "seal", "init-0a.b_c-", "a.", "a..b", strings.Repeat("x", MaxRecordName)} {
		if err := errors.Join(CheckRecordName(name), CheckRecordPrefix(name), CheckRecord(name, []byte{0}), CheckRecordRevision(name, "r")); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{".", "..", "-a", "_a", ".a", "A", "aB", "a/b", "a b", "a\n", "\x00", "a\x00", "é", "aé", "a:b", `a\b`, "a%", strings.Repeat("x", MaxRecordName+1)} {
		for what, err := range map[string]error{
			"name": CheckRecordName(name), "prefix": CheckRecordPrefix(name), "record": CheckRecord(name, []byte{0}), "revision": CheckRecordRevision(name, "r"),
		} {
			if !errors.Is(err, atrest.ErrInvalidName) {
				t.Errorf("%q as %s: %v", name, what, err)
			}
		}
	}
	if err := CheckRecordPrefix(""); err != nil {
		t.Error(err)
	}
	if err := CheckRecordName(""); !errors.Is(err, atrest.ErrInvalidName) {
		t.Error(err)
	}
}

func TestCheckRecord(t *testing.T) {
	for size, want := range map[int]error{0: atrest.ErrUnsupported, 1: nil, MaxRecord: nil, MaxRecord + 1: atrest.ErrTooLarge} {
		if err := CheckRecord("a", make([]byte, size)); !errors.Is(err, want) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if err := CheckRecordRevision("a", ""); !errors.Is(err, atrest.ErrUnsupported) {
		t.Error(err)
	}
}
