package seal

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/atrest/atrest"
)

func TestRecordRoundTrip(t *testing.T) {
	k := cheapKDF(t)
	for name, c := range payloads() {
		h := headerOf(c.state)
		h.generation = 7
		data, r := mustSeal(t, k, h, c.p, testPassword)
		if r.recordHeader != h || !bytes.Equal(r.marshal(), data) {
			t.Errorf("%s: %+v", name, r)
		}
		p, err := r.open(k, secretOf(testPassword))
		if err != nil || !samePayload(p, c.p) {
			t.Errorf("%s: %v", name, err)
		}
		p, err = r.open(k, secretOf("another password"))
		wantError(t, err, atrest.ErrWrongPassword)
		if p != nil {
			t.Errorf("%s: contents and an error", name)
		}
		if again, _ := mustSeal(t, k, h, c.p, testPassword); bytes.Equal(data, again) {
			t.Errorf("%s: the nonce is not new", name)
		}
	}
}

// The length of a record tells little.
func TestRecordHides(t *testing.T) {
	k := cheapKDF(t)
	length := func(p *payload) int {
		data, _ := mustSeal(t, k, headerOf(stateReady), p, testPassword)
		return len(data)
	}
	a, b := appRoleOf("atrest"), appRoleOf("atrest")
	b.secretID = secretOf("a-secret-id-that-is-longer-than-the-other")
	if length(&payload{keys: keysOf(1), appRole: a}) != length(&payload{keys: keysOf(1), appRole: b}) {
		t.Error("the lengths differ")
	}
}

// One bit makes any record unreadable.
func TestRecordFlips(t *testing.T) {
	k := cheapKDF(t)
	for _, name := range []string{"intent", "candidate", "approle"} {
		c := payloads()[name]
		data, _ := mustSeal(t, k, headerOf(c.state), c.p, testPassword)
		parsed := 0
		eachFlip(data, func(bit int, flipped []byte) {
			r, err := parseRecord(flipped)
			if err != nil {
				if r != nil || !errors.Is(err, atrest.ErrCorruptRecord) {
					t.Errorf("%s: bit %d: %v", name, bit, err)
				}
				return
			}
			parsed++
			p, err := r.open(k, secretOf(testPassword))
			if p != nil || !errors.Is(err, atrest.ErrWrongPassword) {
				t.Errorf("%s: bit %d: %v", name, bit, err)
			}
		})
		if parsed < 100 {
			t.Errorf("%s: only %d of the altered records parse", name, parsed)
		}
	}
}

func TestRecordTruncated(t *testing.T) {
	data, _ := mustSeal(t, cheapKDF(t), headerOf(stateReady), payloads()["approle"].p, testPassword)
	for n := range data {
		if r, err := parseRecord(data[:n]); r != nil || !errors.Is(err, atrest.ErrCorruptRecord) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for c := range 256 {
		if _, err := parseRecord(append(bytes.Clone(data), byte(c))); !errors.Is(err, atrest.ErrCorruptRecord) {
			t.Errorf("with byte %d behind: %v", c, err)
		}
	}
}

func TestRecordNotCanonical(t *testing.T) {
	h := headerOf(stateReady)
	h.generation = 12
	data, _ := mustSeal(t, cheapKDF(t), h, payloads()["keys only"].p, testPassword)
	line := string(data)
	fields := strings.Split(line, "$")
	edit := func(old, new string) string {
		if !strings.Contains(line, old) {
			t.Fatalf("%q is not in %q", old, line)
		}
		return strings.Replace(line, old, new, 1)
	}
	for name, text := range map[string]string{
		"empty":                "",
		"line break":           "\n",
		"twice":                line + line,
		"another kind":         edit("atrest-seal", "atrest-password"),
		"version 2":            edit("$v=1$", "$v=2$"),
		"version 01":           edit("$v=1$", "$v=01$"),
		"Argon2 version 16":    edit("v=19", "v=16"),
		"Argon2i":              edit("argon2id", "argon2i"),
		"unknown state":        edit("state=ready", "state=done"),
		"no state":             edit("state=ready", "state="),
		"capital state":        edit("state=ready", "state=Ready"),
		"generation 012":       edit("generation=12", "generation=012"),
		"generation 0":         edit("generation=12", "generation=0"),
		"generation -1":        edit("generation=12", "generation=-1"),
		"generation 2^32":      edit("generation=12", "generation=4294967296"),
		"another order":        edit("generation=12$state=ready", "state=ready$generation=12"),
		"another field":        edit("$state", "$x=1$state"),
		"a field less":         edit("generation=12$", ""),
		"short installation":   edit(string(h.install), string(h.install[1:])),
		"standard base64":      edit(string(h.install), "++++++++++++++++++++AA"),
		"not canonical id":     edit(string(h.install), "AAAAAAAAAAAAAAAAAAAAAB"),
		"padded id":            edit(string(h.install), "AAAAAAAAAAAAAAAAAAAAAA=="),
		"padded salt":          edit(fields[9]+"$"+fields[10], fields[9]+"==$"+fields[10]),
		"short salt":           edit(fields[9]+"$"+fields[10], fields[9][4:]+"$"+fields[10]),
		"line break in salt":   edit(fields[9]+"$"+fields[10], fields[9][:5]+"\n"+fields[9][5:]+"$"+fields[10]),
		"line break in nonce":  edit(fields[10]+"$", fields[10][:5]+"\n"+fields[10][5:]+"$"),
		"carriage return":      edit(fields[10]+"$", fields[10][:5]+"\r"+fields[10][5:]+"$"),
		"long nonce":           edit(fields[10]+"$", fields[10]+"AAAA$"),
		"empty box":            strings.Join(fields[:11], "$") + "$\n",
		"box of a tag only":    strings.Join(fields[:11], "$") + "$" + strings.Repeat("A", 22) + "\n",
		"box not in 256":       strings.Join(fields[:11], "$") + "$" + strings.Repeat("AAAA", 20) + "\n",
		"carriage return, end": strings.TrimSuffix(line, "\n") + "\r\n",
	} {
		if _, err := parseRecord([]byte(text)); !errors.Is(err, atrest.ErrCorruptRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
	huge := []byte(line[:len(line)-1] + strings.Repeat("A", 64<<20) + "\n")
	if n := allocated(func() {
		_, err := parseRecord(huge)
		wantError(t, err, atrest.ErrCorruptRecord)
	}); n > 1<<20 {
		t.Errorf("a huge record took %d bytes", n)
	}
}

// Everything in the clear is authenticated: parts of two good records do not
// make a third.
func TestRecordSpliced(t *testing.T) {
	k := cheapKDF(t)
	c := payloads()["candidate"]
	_, r := mustSeal(t, k, headerOf(stateCandidate), c.p, testPassword)
	for name, change := range map[string]func(*record){
		"state":        func(r *record) { r.state = stateIntent },
		"ready":        func(r *record) { r.state = stateReady },
		"generation":   func(r *record) { r.generation++ },
		"installation": func(r *record) { r.install = newInstallID() },
		"passes":       func(r *record) { r.params.Passes++ },
		"memory":       func(r *record) { r.params.MemoryKiB++ },
		"lanes":        func(r *record) { r.params = Argon2id{1, 16, 2} },
		"salt":         func(r *record) { r.salt = newSalt() },
		"nonce":        func(r *record) { r.nonce = newNonce() },
	} {
		forged := *r
		change(&forged)
		again, err := parseRecord(forged.marshal())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err = again.open(k, secretOf(testPassword))
		if !errors.Is(err, atrest.ErrWrongPassword) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPasswordFrom(t *testing.T) {
	f := passwordFileOf("present", "next")
	f.generation = 5
	record := func(generation uint32) *record {
		return &record{recordHeader: recordHeader{install: f.install, generation: generation}}
	}
	for generation, want := range map[uint32]string{5: "present", 6: "next"} {
		if got, err := record(generation).passwordFrom(f); err != nil || string(got.bytes()) != want {
			t.Errorf("%d: %v", generation, err)
		}
	}
	for _, generation := range []uint32{7, 8, math.MaxUint32} {
		_, err := record(generation).passwordFrom(f)
		wantError(t, err, atrest.ErrStalePassword)
		wantError(t, err, atrest.ErrWrongPassword)
	}
	for _, generation := range []uint32{1, 4} {
		_, err := record(generation).passwordFrom(f)
		wantError(t, err, atrest.ErrWrongPassword)
		if errors.Is(err, atrest.ErrStalePassword) {
			t.Errorf("%d: %v", generation, err)
		}
	}
	f.pending = nil
	_, err := record(6).passwordFrom(f)
	wantError(t, err, atrest.ErrStalePassword)
	f.install = newInstallID()
	other := record(5)
	other.install = newInstallID()
	_, err = other.passwordFrom(f)
	wantError(t, err, atrest.ErrOtherInstallation)
	f.generation = math.MaxUint32
	if _, err := record(math.MaxUint32).passwordFrom(f); err != nil {
		t.Error(err)
	}
}

func TestSealRefuses(t *testing.T) {
	k := cheapKDF(t)
	good := payloads()["keys only"].p
	for name, change := range map[string]func(*recordHeader){
		"no installation": func(h *recordHeader) { h.install = "" },
		"no generation":   func(h *recordHeader) { h.generation = 0 },
		"no state":        func(h *recordHeader) { h.state = "" },
		"no parameters":   func(h *recordHeader) { h.params = Argon2id{} },
		"over the caps":   func(h *recordHeader) { h.params.Passes = 17 },
	} {
		h := headerOf(stateReady)
		change(&h)
		if _, err := sealRecord(k, h, good, secretOf(testPassword)); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
	for _, password := range []*secret{nil, {}, secretOf("")} {
		if _, err := sealRecord(k, headerOf(stateReady), good, password); err == nil {
			t.Error("sealed under an empty password")
		}
	}
}

// The largest payload of valid fields fits.
func TestLargestRecord(t *testing.T) {
	k := cheapKDF(t)
	shares := &unsealKeys{threshold: maxShares}
	for range maxShares {
		shares.shares = append(shares.shares, secretOf(strings.Repeat("x", maxShare)))
	}
	text := strings.Repeat("x", maxText)
	role := &appRole{text, text, secretOf(text), secretOf(text), secretOf(text)}
	p := &payload{keys: shares, pending: shares, appRole: role, nextAppRole: role}
	h := headerOf(stateReady)
	h.generation = math.MaxUint32
	data, err := sealRecord(k, h, p, secretOf(testPassword))
	if err != nil {
		t.Fatal(err)
	}
	r, err := parseRecord(data)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.open(k, secretOf(testPassword))
	if err != nil || !samePayload(got, p) {
		t.Error(err)
	}
	if size := p.size(); len(p.append(nil)) > size {
		t.Errorf("size says %d, it is %d", size, len(p.append(nil)))
	}
}
