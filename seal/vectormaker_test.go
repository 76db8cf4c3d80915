package seal

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// A vectorMaker makes vectors from a fixed random source.
type vectorMaker struct {
	t       *testing.T
	random  *rand.ChaCha8
	kdf     *kdfCache
	install installID
}

func (m *vectorMaker) header(state recordState, generation uint32, params Argon2id) recordHeader {
	h := recordHeader{install: m.install, generation: generation, state: state, params: params}
	m.random.Read(h.salt[:])
	return h
}

// raw makes the vector of a record with any contents.
func (m *vectorMaker) raw(comment string, h recordHeader, plain, password string) *vector {
	r := &record{recordHeader: h}
	m.random.Read(r.nonce[:])
	key, err := m.kdf.key(secretOf(password), h.salt, h.params)
	if err != nil {
		m.t.Fatal(err)
	}
	aead, err := newAEAD(key.bytes(), h.salt, recordInfo)
	if err != nil {
		m.t.Fatal(err)
	}
	r.box = aead.Seal(nil, r.nonce[:], []byte(plain), r.prefix())
	return &vector{Comment: comment, Kind: "record", Text: string(r.marshal()), Password: password,
		Install: string(h.install), Generation: h.generation, State: string(h.state), Contents: strings.TrimRight(plain, " ")}
}

func (m *vectorMaker) record(comment string, h recordHeader, contents, password string) *vector {
	return m.raw(comment, h, string(pad([]byte(contents), recordPad, ' ')), password)
}

func (m *vectorMaker) invalid(v *vector, err string, edit ...string) *vector {
	text := strings.NewReplacer(edit...).Replace(v.Text)
	if len(edit) > 0 && text == v.Text {
		m.t.Fatalf("%s: nothing was replaced", v.Comment)
	}
	return &vector{Comment: v.Comment, Kind: v.Kind, Text: text, Password: v.Password, InstanceKey: v.InstanceKey, Error: err}
}

func (m *vectorMaker) records() []*vector {
	const (
		share   = `"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA"`
		keys    = `{"threshold":1,"shares":[` + share + `]}`
		three   = `{"threshold":2,"shares":[` + share + `,` + share + `,` + share + `]}`
		role    = `{"mount":"approle","role":"atrest","role_id":"b7a9-role","secret_id":"0c1d-secret","accessor":"9e8f-accessor"}`
		role2   = `{"mount":"approle","role":"atrest","role_id":"b7a9-role","secret_id":"77aa-secret","accessor":"1b2c-accessor"}`
		attempt = `"attempt":"00112233445566778899aabbccddeeff"`
		ready   = `{"keys":` + keys + `}`
	)
	header := func(state recordState) recordHeader { return m.header(state, 1, Argon2id{1, 64, 1}) }
	return []*vector{
		m.record("record, default parameters", m.header(stateReady, 1, Argon2id{}.withDefaults()), `{"keys":`+keys+`,"approle":`+role+`}`, testPassword),
		m.record("record, intent", header(stateIntent), `{`+attempt+`}`, testPassword),
		m.record("record, candidate", header(stateCandidate), `{`+attempt+`,"keys":`+three+`}`, testPassword),
		m.record("record, set-up unfinished", header(stateReady), ready, testPassword),
		m.record("record, everything", m.header(stateReady, 4294967295, Argon2id{2, 128, 4}),
			`{"keys":`+keys+`,"pending":`+three+`,"approle":`+role+`,"next_approle":`+role2+`}`, "Paßwort mit Umlauten: äöü"),
		m.invalid(m.record("record, state altered", header(stateIntent), `{`+attempt+`}`, testPassword), "wrong password", "intent", "ready"),
		m.invalid(m.record("record, generation altered", header(stateReady), ready, testPassword), "wrong password", "generation=1", "generation=2"),
		m.invalid(m.record("record, memory over the cap", header(stateReady), ready, testPassword), "corrupt record", "m=64", "m=1048577"),
		m.invalid(m.record("record, leading zero", header(stateReady), ready, testPassword), "corrupt record", "m=64", "m=064"),
		m.invalid(m.record("record, unknown version", header(stateReady), ready, testPassword), "corrupt record", "seal$v=1", "seal$v=2"),
		m.invalid(m.record("record, no line break", header(stateReady), ready, testPassword), "corrupt record", "\n", ""),
		m.invalid(m.record("record, unknown field sealed", header(stateReady), `{"keys":`+keys+`,"x":1}`, testPassword), "corrupt record"),
		m.invalid(m.record("record, fields of another state", header(stateIntent), ready, testPassword), "corrupt record"),
		m.invalid(m.raw("record, too much padding", header(stateReady), string(pad([]byte(ready), recordPad, ' '))+strings.Repeat(" ", recordPad), testPassword), "corrupt record"),
	}
}

// shares are of an unseal key whose shares are in records of their own.
func (m *vectorMaker) shares() []*vector {
	const (
		set   = `"set":"ffeeddccbbaa99887766554433221100"`
		share = `{` + set + `,"number":3,"share":"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAh"}`
		keys  = `{"keys":{"threshold":2,` + set + `,"count":3}}`
	)
	header := func(state recordState) recordHeader { return m.header(state, 2, Argon2id{1, 64, 1}) }
	return []*vector{
		m.record("record, share", header(stateShare), share, testPassword),
		m.record("record, shares elsewhere", header(stateReady), keys, testPassword),
		m.invalid(m.record("record, share as a seal record", header(stateReady), share, testPassword), "corrupt record"),
		m.invalid(m.record("record, shares elsewhere in a candidate", header(stateCandidate),
			`{"attempt":"00112233445566778899aabbccddeeff",`+keys[1:], testPassword), "corrupt record"),
		m.invalid(m.record("record, shares within and elsewhere", header(stateReady),
			`{"keys":{"threshold":1,"set":"ffeeddccbbaa99887766554433221100","count":1,"shares":["AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA"]}}`, testPassword), "corrupt record"),
	}
}

// passwordFile makes the vector of a password file under keys, of which the
// first is told.
func (m *vectorMaker) passwordFile(comment string, generation uint32, plain string, keys ...string) *vector {
	v := &vector{Comment: comment, Kind: "password file", Install: string(m.install), Generation: generation,
		InstanceKey: hex.EncodeToString([]byte(keys[0]))}
	for _, key := range keys {
		l := &passwordLine{install: m.install, generation: generation}
		m.random.Read(l.salt[:])
		m.random.Read(l.nonce[:])
		aead, err := newAEAD([]byte(key), l.salt, passwordInfo)
		if err != nil {
			m.t.Fatal(err)
		}
		l.box = aead.Seal(nil, l.nonce[:], []byte(plain), l.prefix())
		v.Text += string(l.marshal())
	}
	return v
}

func (m *vectorMaker) passwords(comment string, generation uint32, password, pending string, keys ...string) *vector {
	plain := appendPassword(appendPassword(nil, secretOf(password)), secretOf(pending))
	v := m.passwordFile(comment, generation, string(pad(plain, passwordPad, 0)), keys...)
	v.Password, v.Pending = password, pending
	return v
}

func (m *vectorMaker) passwordFiles() []*vector {
	one, two := "the instance key of this machine", "the machine's next instance key."
	long := strings.Repeat("0123456789abcdef", maxPassword/16)
	second := m.passwords("password file, lines differ", 2, testPassword, "", one)
	differ := m.passwords("password file, lines differ", 1, testPassword, "", one)
	differ.Text += second.Text
	return []*vector{
		m.passwords("password file", 1, testPassword, "", one),
		m.passwords("password file, pending", 7, testPassword, "the next Encryption Password", one),
		m.passwords("password file, longest", 4294967295, long, "", one),
		m.passwords("password file, two instance keys", 1, testPassword, "", two, one),
		m.passwords("password file, 60 bytes need no padding", 1, long[:60], "", one),
		m.invalid(m.passwords("password file, generation altered", 1, testPassword, "", one), "wrong instance key", "generation=1", "generation=2"),
		m.invalid(m.passwordFile("password file, padding is not zero", 1, fmt.Sprintf("\x00\x0ctwelve bytes\x00\x00%s\x01", strings.Repeat("\x00", 47)), one), "corrupt record"),
		m.invalid(m.passwordFile("password file, no password", 1, strings.Repeat("\x00", 64), one), "corrupt record"),
		m.invalid(m.passwordFile("password file, pending after the last generation", 4294967295, "\x00\x01a\x00\x01b"+strings.Repeat("\x00", 58), one), "corrupt record"),
		m.invalid(differ, "corrupt record"),
		m.invalid(m.passwords("password file, unknown version", 1, testPassword, "", one), "corrupt record", "v=1", "v=2"),
	}
}
