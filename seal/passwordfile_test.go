package seal

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atrest/atrest"
)

func passwordFileOf(password, pending string) *passwordFile {
	f := &passwordFile{install: newInstallID(), generation: 3, password: secretOf(password)}
	if pending != "" {
		f.pending = secretOf(pending)
	}
	return f
}

func mustMarshal(t testing.TB, f *passwordFile, keys ...[]byte) []byte {
	t.Helper()
	data, err := marshalPasswordFile(f, keys)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func samePasswordFile(a, b *passwordFile) bool {
	return a.install == b.install && a.generation == b.generation && a.password.equal(b.password) &&
		a.pending.equal(b.pending) && (a.pending == nil) == (b.pending == nil)
}

func TestPasswordFileRoundTrip(t *testing.T) {
	long := strings.Repeat("x", maxPassword)
	path := filepath.Join(privateDir(t), "made", "too", "password")
	for _, f := range []*passwordFile{
		passwordFileOf(testPassword, ""), passwordFileOf(testPassword, "the next password"), passwordFileOf("p", "q"),
		passwordFileOf(long, long), passwordFileOf(long, ""), passwordFileOf("zeros at its end\x00\x00", ""), passwordFileOf("日本語の合言葉", "\xff\n"),
	} {
		if err := writePasswordFile(path, f, keyOf(1)); err != nil {
			t.Fatal(err)
		}
		got, err := readPasswordFile(path, keyOf(2), keyOf(1))
		if err != nil || !samePasswordFile(got, f) || got.lines != 1 || got.key != 1 {
			t.Errorf("%+v: %v", got, err)
		}
		_, err = readPasswordFile(path, keyOf(2), keyOf(3))
		wantError(t, err, atrest.ErrWrongInstanceKey)
		_, err = readPasswordFile(path)
		wantError(t, err, atrest.ErrWrongInstanceKey)
	}
	for _, p := range []string{path, filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		want := os.FileMode(0o600)
		if info.IsDir() {
			want = 0o700
		}
		if hasModes && info.Mode().Perm() != want {
			t.Errorf("%s has mode %v", p, info.Mode())
		}
	}
}

func TestPasswordFileOfTwoKeys(t *testing.T) {
	path := filepath.Join(privateDir(t), "password")
	f := passwordFileOf(testPassword, "the next password")
	if err := writePasswordFile(path, f, keyOf(1), keyOf(2)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		keys   [][]byte
		opened int
	}{
		{[][]byte{keyOf(1)}, 0}, {[][]byte{keyOf(2)}, 0}, {[][]byte{keyOf(2), keyOf(1)}, 0}, {[][]byte{keyOf(3), keyOf(2)}, 1},
	} {
		got, err := readPasswordFile(path, c.keys...)
		if err != nil || !samePasswordFile(got, f) || got.lines != 2 || got.key != c.opened {
			t.Errorf("%+v, %v, want key %d", got, err, c.opened)
		}
	}
	_, err := readPasswordFile(path, keyOf(3))
	wantError(t, err, atrest.ErrWrongInstanceKey)
}

func TestPasswordFileMissing(t *testing.T) {
	dir := privateDir(t)
	for _, path := range []string{filepath.Join(dir, "password"), filepath.Join(dir, "no", "password")} {
		_, err := readPasswordFile(path, keyOf(1))
		wantError(t, err, atrest.ErrPasswordMissing)
	}
}

// The length of the file says little of the password's, and each write is new.
func TestPasswordFileHides(t *testing.T) {
	f := passwordFileOf("twelve bytes", "")
	first, second := mustMarshal(t, f, keyOf(1)), mustMarshal(t, f, keyOf(1))
	if bytes.Equal(first, second) {
		t.Error("salt and nonce are not new")
	}
	f.pending = secretOf(strings.Repeat("x", 48))
	if n := len(mustMarshal(t, f, keyOf(1))); n != len(first) {
		t.Errorf("%d bytes with a pending password, %d without", n, len(first))
	}
	long := strings.Repeat("x", maxPassword)
	if n := len(mustMarshal(t, passwordFileOf(long, long), keyOf(1), keyOf(2))); n > maxPasswordFile {
		t.Errorf("the longest has %d bytes", n)
	}
}

func TestPasswordFileRefusesToWrite(t *testing.T) {
	path := filepath.Join(privateDir(t), "password")
	good := passwordFileOf(testPassword, "")
	long := strings.Repeat("x", maxPassword+1)
	for name, f := range map[string]*passwordFile{
		"empty password":   passwordFileOf("", ""),
		"long password":    passwordFileOf(long, ""),
		"long pending":     passwordFileOf(testPassword, long),
		"no installation":  {generation: 1, password: good.password},
		"no generation":    {install: good.install, password: good.password},
		"no next one":      {install: good.install, generation: math.MaxUint32, password: good.password, pending: good.password},
		"bad installation": {install: good.install[1:] + "!", generation: 1, password: good.password},
	} {
		if err := writePasswordFile(path, f, keyOf(1)); err == nil {
			t.Errorf("%s: written", name)
		}
	}
	for name, keys := range map[string][][]byte{
		"none": {}, "three": {keyOf(1), keyOf(2), keyOf(3)}, "twice": {keyOf(1), keyOf(1)}, "short": {keyOf(1)[:31]}, "nil": {nil}, "long": {append(keyOf(1), 1)},
	} {
		if err := writePasswordFile(path, good, keys...); err == nil {
			t.Errorf("keys: %s: written", name)
		}
	}
	if names := namesIn(t, filepath.Dir(path)); len(names) > 0 {
		t.Errorf("%q", names)
	}
}

// One bit makes any password file unreadable.
func TestPasswordFileFlips(t *testing.T) {
	for name, data := range map[string][]byte{
		"one":     mustMarshal(t, passwordFileOf(testPassword, ""), keyOf(1)),
		"pending": mustMarshal(t, passwordFileOf(testPassword, "the next password"), keyOf(1)),
	} {
		eachFlip(data, func(bit int, flipped []byte) {
			f, err := openPasswordFile(flipped, [][]byte{keyOf(1)})
			if f != nil || !errors.Is(err, atrest.ErrCorruptRecord) && !errors.Is(err, atrest.ErrWrongInstanceKey) {
				t.Errorf("%s: bit %d: %v", name, bit, err)
			}
		})
	}
}

// Of two lines, one bit spoils the file, or the one line that it is in.
func TestPasswordFileFlipsInTwoLines(t *testing.T) {
	data := mustMarshal(t, passwordFileOf(testPassword, ""), keyOf(1), keyOf(2))
	half := len(data) / 2
	eachFlip(data, func(bit int, flipped []byte) {
		var errs [2]error
		for i := range errs {
			_, errs[i] = openPasswordFile(flipped, [][]byte{keyOf(byte(1 + i))})
		}
		hit := errs[bit/8/half]
		if !errors.Is(hit, atrest.ErrCorruptRecord) && !errors.Is(hit, atrest.ErrWrongInstanceKey) {
			t.Errorf("bit %d: %v", bit, errs)
		}
	})
}

func TestPasswordFileTruncated(t *testing.T) {
	data := mustMarshal(t, passwordFileOf(testPassword, ""), keyOf(1), keyOf(2))
	for n := range data {
		if n == len(data)/2 {
			continue // the first line alone is a password file
		}
		_, err := openPasswordFile(data[:n], [][]byte{keyOf(1), keyOf(2)})
		if !errors.Is(err, atrest.ErrCorruptRecord) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestPasswordFileNotCanonical(t *testing.T) {
	f := passwordFileOf(testPassword, "")
	line, other := string(mustMarshal(t, f, keyOf(1))), string(mustMarshal(t, f, keyOf(2)))
	third := string(mustMarshal(t, f, keyOf(3)))
	later := *f
	later.generation++
	elsewhere := *f
	elsewhere.install = newInstallID()
	edit := func(old, new string) string {
		if !strings.Contains(line, old) {
			t.Fatalf("%q is not in %q", old, line)
		}
		return strings.Replace(line, old, new, 1)
	}
	for name, text := range map[string]string{
		"empty":                  "",
		"no line break":          strings.TrimSuffix(line, "\n"),
		"two line breaks":        line + "\n",
		"carriage return":        strings.TrimSuffix(line, "\n") + "\r\n",
		"three lines":            line + other + third,
		"another generation":     line + string(mustMarshal(t, &later, keyOf(2))),
		"another installation":   line + string(mustMarshal(t, &elsewhere, keyOf(2))),
		"leading space":          " " + line,
		"something behind":       line + "x",
		"version 2":              edit("v=1", "v=2"),
		"no generation":          edit("generation=3", "generation="),
		"generation 0":           edit("generation=3", "generation=0"),
		"generation 03":          edit("generation=3", "generation=03"),
		"generation +3":          edit("generation=3", "generation=+3"),
		"generation 2^32":        edit("generation=3", "generation=4294967296"),
		"long installation":      edit("$generation", "A$generation"),
		"padded":                 strings.TrimSuffix(line, "\n") + "=\n",
		"line break in the box":  line[:len(line)-20] + "\n" + line[len(line)-20:],
		"carriage return in box": line[:len(line)-20] + "\r" + line[len(line)-20:],
		"another field":          edit("$generation", "$x=1$generation"),
		"too long":               strings.Repeat(line, 1+maxPasswordFile/len(line)),
	} {
		if _, err := openPasswordFile([]byte(text), [][]byte{keyOf(1)}); !errors.Is(err, atrest.ErrCorruptRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A file that is too long is not read.
	path := filepath.Join(privateDir(t), "password")
	mustWrite(t, path, strings.Repeat("x", maxPasswordFile+1), 0o600)
	_, err := readPasswordFile(path, keyOf(1))
	wantError(t, err, atrest.ErrCorruptRecord)
}

// What is authentic but does not keep to the format is refused as well.
func TestPasswordFileContents(t *testing.T) {
	for name, c := range map[string]struct {
		plain      string
		generation uint32
		good       bool
	}{
		"good":                    {"\x00\x01a\x00\x00" + strings.Repeat("\x00", 59), 3, true},
		"good, with pending":      {"\x00\x01a\x00\x02bc" + strings.Repeat("\x00", 57), 3, true},
		"last generation":         {"\x00\x01a\x00\x00" + strings.Repeat("\x00", 59), math.MaxUint32, true},
		"pending after the last":  {"\x00\x01a\x00\x02bc" + strings.Repeat("\x00", 57), math.MaxUint32, false},
		"no password":             {"\x00\x00\x00\x00" + strings.Repeat("\x00", 60), 3, false},
		"padding is not zero":     {"\x00\x01a\x00\x00" + strings.Repeat("\x00", 58) + "x", 3, false},
		"too much padding":        {"\x00\x01a\x00\x00" + strings.Repeat("\x00", 59+64), 3, false},
		"length over the end":     {"\x00\x3fa" + strings.Repeat("\x00", 61), 3, false},
		"pending over the end":    {"\x00\x01a\x00\x3c" + strings.Repeat("\x00", 59), 3, false},
		"longer than the longest": {"\x04\x01" + strings.Repeat("x", 1025) + strings.Repeat("\x00", 61), 3, false},
		"no room for the second":  {"\x00\x3e" + strings.Repeat("x", 62), 3, false},
	} {
		l := &passwordLine{install: newInstallID(), generation: c.generation, salt: newSalt(), nonce: newNonce()}
		aead, err := newAEAD(keyOf(1), l.salt, passwordInfo)
		if err != nil {
			t.Fatal(err)
		}
		l.box = aead.Seal(nil, l.nonce[:], []byte(c.plain), l.prefix())
		f, err := openPasswordFile(l.marshal(), [][]byte{keyOf(1)})
		if c.good && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !c.good && (f != nil || !errors.Is(err, atrest.ErrCorruptRecord)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A box that is no multiple of 64 does not even parse.
	for _, n := range []int{0, 1, 16, 17, 79, 81, maxPasswordBox - 1, maxPasswordBox + 64} {
		l := &passwordLine{install: newInstallID(), generation: 1, box: make([]byte, n)}
		if _, err := parsePasswordFile(l.marshal()); !errors.Is(err, atrest.ErrCorruptRecord) {
			t.Errorf("a box of %d bytes: %v", n, err)
		}
	}
	l := &passwordLine{install: newInstallID(), generation: 1, box: make([]byte, maxPasswordBox)}
	if _, err := parsePasswordFile(l.marshal()); err != nil {
		t.Error(fmt.Errorf("the longest box: %w", err))
	}
}
