package seal

import (
	"bytes"
	"testing"

	"github.com/atrest/atrest"
)

// What parses has one spelling, and can be opened without a panic.
func FuzzParseRecord(f *testing.F) {
	k := cheapKDF(f)
	for _, c := range payloads() {
		data, _ := mustSeal(f, k, headerOf(c.state), c.p, testPassword)
		f.Add(data)
	}
	for _, v := range readVectors(f) {
		f.Add([]byte(v.Text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRecord(data)
		if err != nil {
			wantError(t, err, atrest.ErrCorruptRecord)
			return
		}
		if again := r.marshal(); !bytes.Equal(again, data) {
			t.Errorf("%q is also spelled %q", data, again)
		}
		if !r.params.readable() || len(data) > maxRecord {
			t.Errorf("out of bounds: %+v", r.params)
		}
		if r.params.MemoryKiB > 1<<10 || r.params.Passes > 2 {
			return // too slow here
		}
		if p, err := r.open(&kdfCache{}, secretOf("not the password")); err == nil || p != nil {
			t.Errorf("opened by a password that is not its own: %v", err)
		}
	})
}

func FuzzParsePasswordFile(f *testing.F) {
	f.Add(mustMarshal(f, passwordFileOf(testPassword, ""), keyOf(1)))
	f.Add(mustMarshal(f, passwordFileOf(testPassword, "the next password"), keyOf(1), keyOf(2)))
	for _, v := range readVectors(f) {
		f.Add([]byte(v.Text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, err := parsePasswordFile(data)
		if err != nil {
			wantError(t, err, atrest.ErrCorruptRecord)
			return
		}
		var again []byte
		for _, l := range lines {
			again = append(again, l.marshal()...)
		}
		if !bytes.Equal(again, data) || len(lines) < 1 || len(lines) > maxPasswordLines {
			t.Errorf("%q is also spelled %q", data, again)
		}
		if _, err := openPasswordFile(data, [][]byte{keyOf(3)}); err == nil {
			t.Error("opened by a key that is not its own")
		}
	})
}

// What parses as a payload is what is written for it.
func FuzzParsePayload(f *testing.F) {
	states := []recordState{stateIntent, stateCandidate, stateReady}
	for _, c := range payloads() {
		f.Add(c.p.append(nil), 2)
	}
	f.Add([]byte(`{"attempt":"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"}`), 0)
	f.Add([]byte(`{"keys":{"threshold":1,"shares":["AAAA"]},"keys":null}`), 2)
	f.Fuzz(func(t *testing.T, text []byte, state int) {
		if state < 0 || state >= len(states) {
			return
		}
		p, err := parsePayload(text, states[state])
		if err != nil {
			wantError(t, err, atrest.ErrCorruptRecord)
			return
		}
		if again := p.append(nil); !bytes.Equal(again, text) || string(text) != referenceOf(p) || !p.fits(states[state]) || len(text) > p.size() {
			t.Errorf("%q is also spelled %q", text, again)
		}
	})
}

func FuzzParseInstanceKey(f *testing.F) {
	for text := range keyTexts {
		if len(text) <= maxKeyText {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := parseInstanceKey(text)
		if err != nil {
			wantError(t, err, atrest.ErrWrongInstanceKey)
			return
		}
		again := appendBase64(nil, key)
		rest, ok := bytes.CutPrefix(text, again)
		if !ok || len(rest) > 2 || !bytes.Contains([]byte("=\n"), rest) {
			t.Errorf("%q is also spelled %q", text, again)
		}
	})
}
