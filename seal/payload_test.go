package seal

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/atrest/atrest"
)

// reference is a payload as encoding/json has it.
type reference struct {
	Attempt     string         `json:"attempt,omitempty"`
	Keys        *referenceKeys `json:"keys,omitempty"`
	Pending     *referenceKeys `json:"pending,omitempty"`
	AppRole     *referenceRole `json:"approle,omitempty"`
	NextAppRole *referenceRole `json:"next_approle,omitempty"`
	Set         string         `json:"set,omitempty"`
	Number      int            `json:"number,omitempty"`
	Share       string         `json:"share,omitempty"`
}

type referenceKeys struct {
	Threshold int      `json:"threshold"`
	Set       string   `json:"set,omitempty"`
	Count     int      `json:"count,omitempty"`
	Shares    []string `json:"shares,omitempty"`
}

type referenceRole struct {
	Mount    string `json:"mount"`
	Role     string `json:"role"`
	RoleID   string `json:"role_id"`
	SecretID string `json:"secret_id"`
	Accessor string `json:"accessor"`
}

func referenceOf(p *payload) string {
	keys := func(k *unsealKeys) *referenceKeys {
		if k == nil {
			return nil
		}
		r := &referenceKeys{Threshold: k.threshold, Set: string(k.set), Count: k.count}
		for _, s := range k.shares {
			r.Shares = append(r.Shares, base64.RawStdEncoding.EncodeToString(s.bytes()))
		}
		return r
	}
	role := func(a *appRole) *referenceRole {
		if a == nil {
			return nil
		}
		return &referenceRole{a.mount, a.role, string(a.roleID.bytes()), string(a.secretID.bytes()), string(a.accessor.bytes())}
	}
	r := reference{Attempt: string(p.attempt), Keys: keys(p.keys), Pending: keys(p.pending), AppRole: role(p.appRole), NextAppRole: role(p.nextAppRole)}
	if p.share != nil {
		r.Set, r.Number, r.Share = string(p.share.set), p.share.number, base64.RawStdEncoding.EncodeToString(p.share.value.bytes())
	}
	text, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// The text is what encoding/json would write.
func TestPayloadIsJSON(t *testing.T) {
	for name, c := range payloads() {
		text := c.p.append(nil)
		if want := referenceOf(c.p); string(text) != want {
			t.Errorf("%s: %s, want %s", name, text, want)
		}
		if n := c.p.size(); len(text) > n {
			t.Errorf("%s: size says %d, it is %d", name, n, len(text))
		}
		p, err := parsePayload(text, c.state)
		if err != nil || !samePayload(p, c.p) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is authentic but does not keep to the format is refused.
func TestPayloadNotCanonical(t *testing.T) {
	k := cheapKDF(t)
	share := base64.RawStdEncoding.EncodeToString(keyOf(7))
	keys := `{"threshold":1,"shares":["` + share + `"]}`
	role := `{"mount":"approle","role":"atrest","role_id":"r","secret_id":"s","accessor":"a"}`
	attempt := `"attempt":"` + strings.Repeat("0f", 16) + `"`
	refused := func(name string, state recordState, plain string) {
		t.Helper()
		p, err := sealRaw(t, headerOf(state), []byte(plain), testPassword).open(k, secretOf(testPassword))
		if p != nil || !errors.Is(err, atrest.ErrCorruptRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
	padded := func(s string) string { return string(pad([]byte(s), recordPad, ' ')) }
	for plain, state := range map[string]recordState{
		`{"keys":` + keys + `}`:                        stateReady,
		`{"keys":` + keys + `,"approle":` + role + `}`: stateReady,
		`{` + attempt + `}`:                            stateIntent,
		`{` + attempt + `,"keys":` + keys + `}`:        stateCandidate,
		`{` + strings.Replace(attempt, "attempt", "set", 1) + `,"number":1,"share":"` + share + `"}`: stateShare,
	} {
		if _, err := sealRaw(t, headerOf(state), []byte(padded(plain)), testPassword).open(k, secretOf(testPassword)); err != nil {
			t.Fatalf("%s: %v", plain, err)
		}
		for _, other := range []recordState{stateIntent, stateCandidate, stateReady, stateShare} {
			if other != state {
				refused(string(state)+" as "+string(other), other, padded(plain))
			}
		}
		refused("space in front", state, padded(" "+plain))
		refused("space within", state, padded(strings.Replace(plain, ":", ": ", 1)))
		refused("line break behind", state, padded(plain+"\n"))
		refused("too much padding", state, padded(plain)+strings.Repeat(" ", recordPad))
		refused("padded with zeros", state, string(pad([]byte(plain), recordPad, 0)))
		refused("something behind", state, padded(plain+"{}"))
		refused("another field", state, padded(plain[:len(plain)-1]+`,"x":1}`))
		refused("null", state, padded(plain[:len(plain)-1]+`,"pending":null}`))
		refused("in capitals", state, padded(strings.NewReplacer(`"keys"`, `"Keys"`, `"attempt"`, `"Attempt"`, `"set"`, `"Set"`).Replace(plain)))
		refused("twice", state, padded(plain[:len(plain)-1]+`,`+plain[1:]))
		refused("in an array", state, padded("["+plain+"]"))
		refused("cut short", state, padded(plain[:len(plain)-1]))
	}
	for name, plain := range map[string]string{
		"nothing":                "",
		"no keys":                `{}`,
		"null":                   `null`,
		"keys null":              `{"keys":null}`,
		"keys twice":             `{"keys":` + keys + `,"keys":` + keys + `}`,
		"another order":          `{"approle":` + role + `,"keys":` + keys + `}`,
		"another order of keys":  `{"keys":{"shares":["` + share + `"],"threshold":1}}`,
		"no threshold":           `{"keys":{"shares":["` + share + `"]}}`,
		"threshold 0":            `{"keys":{"threshold":0,"shares":["` + share + `"]}}`,
		"threshold 2 of 1":       `{"keys":{"threshold":2,"shares":["` + share + `"]}}`,
		"threshold 1.0":          `{"keys":{"threshold":1.0,"shares":["` + share + `"]}}`,
		"threshold 1e0":          `{"keys":{"threshold":1e0,"shares":["` + share + `"]}}`,
		"threshold is a string":  `{"keys":{"threshold":"1","shares":["` + share + `"]}}`,
		"no shares":              `{"keys":{"threshold":1}}`,
		"shares null":            `{"keys":{"threshold":1,"shares":null}}`,
		"shares empty":           `{"keys":{"threshold":1,"shares":[]}}`,
		"share null":             `{"keys":{"threshold":1,"shares":[null]}}`,
		"share is a number":      `{"keys":{"threshold":1,"shares":[1]}}`,
		"share empty":            `{"keys":{"threshold":1,"shares":[""]}}`,
		"share short":            `{"keys":{"threshold":1,"shares":["AAAA"]}}`,
		"share long":             `{"keys":{"threshold":1,"shares":["` + strings.Repeat("AAAA", 22) + `"]}}`,
		"share padded":           `{"keys":{"threshold":1,"shares":["` + share + `="]}}`,
		"share not canonical":    `{"keys":{"threshold":1,"shares":["` + share[:42] + `d"]}}`,
		"share with line break":  `{"keys":{"threshold":1,"shares":["` + share[:4] + `\n` + share[4:] + `"]}}`,
		"256 shares":             `{"keys":{"threshold":1,"shares":["` + strings.Repeat(share+`","`, 255) + share + `"]}}`,
		"set empty":              `{"keys":{"threshold":1,"set":"","count":1}}`,
		"set of no hex":          `{"keys":{"threshold":1,"set":"` + strings.Repeat("0g", 16) + `","count":1}}`,
		"set without count":      `{"keys":{"threshold":1,"set":"` + strings.Repeat("0f", 16) + `"}}`,
		"count without set":      `{"keys":{"threshold":1,"count":1,"shares":["` + share + `"]}}`,
		"count below threshold":  `{"keys":{"threshold":2,"set":"` + strings.Repeat("0f", 16) + `","count":1}}`,
		"count of 256":           `{"keys":{"threshold":2,"set":"` + strings.Repeat("0f", 16) + `","count":256}}`,
		"set and shares":         `{"keys":{"threshold":1,"set":"` + strings.Repeat("0f", 16) + `","count":1,"shares":["` + share + `"]}}`,
		"field in keys":          `{"keys":{"threshold":1,"shares":["` + share + `"],"x":1}}`,
		"pending without shares": `{"keys":` + keys + `,"pending":{"threshold":1,"shares":[]}}`,
		"approle null":           `{"keys":` + keys + `,"approle":null}`,
		"approle empty":          `{"keys":` + keys + `,"approle":{}}`,
		"approle short":          `{"keys":` + keys + `,"approle":` + strings.Replace(role, `,"accessor":"a"`, "", 1) + `}`,
		"approle long":           `{"keys":` + keys + `,"approle":` + strings.Replace(role, `,"accessor":"a"`, `,"accessor":"a","x":"y"`, 1) + `}`,
		"approle with empty":     `{"keys":` + keys + `,"approle":` + strings.Replace(role, `"s"`, `""`, 1) + `}`,
		"approle with null":      `{"keys":` + keys + `,"approle":` + strings.Replace(role, `"s"`, `null`, 1) + `}`,
		"approle with escape":    `{"keys":` + keys + `,"approle":` + strings.Replace(role, `"s"`, `"\u0073"`, 1) + `}`,
		"mount with escape":      `{"keys":` + keys + `,"approle":` + strings.Replace(role, `"approle"`, `"approl\u0065"`, 1) + `}`,
		"mount with quote":       `{"keys":` + keys + `,"approle":` + strings.Replace(role, `"approle"`, `"a\"b"`, 1) + `}`,
		"mount with ampersand":   `{"keys":` + keys + `,"approle":` + strings.Replace(role, `"approle"`, `"a&b"`, 1) + `}`,
		"mount with space":       `{"keys":` + keys + `,"approle":` + strings.Replace(role, `"approle"`, `"a b"`, 1) + `}`,
		"mount beyond ASCII":     `{"keys":` + keys + `,"approle":` + strings.Replace(role, `"approle"`, `"ä"`, 1) + `}`,
		"mount too long":         `{"keys":` + keys + `,"approle":` + strings.Replace(role, `"approle"`, `"`+strings.Repeat("a", 256)+`"`, 1) + `}`,
		"attempt":                `{` + attempt + `,"keys":` + keys + `}`,
	} {
		refused(name, stateReady, padded(plain))
	}
	for name, text := range map[string]string{
		"empty": "", "short": "0f", "capital": strings.Repeat("0F", 16), "long": strings.Repeat("0f", 17), "no hex": strings.Repeat("0g", 16),
	} {
		refused("attempt "+name, stateIntent, padded(`{"attempt":"`+text+`"}`))
	}
}

func TestIDs(t *testing.T) {
	if a, b := newInstallID(), newInstallID(); !a.valid() || a == b || len(a) != installIDSize {
		t.Errorf("%s %s", a, b)
	}
	if a, b := newAttemptID(), newAttemptID(); !a.valid() || a == b {
		t.Errorf("%s %s", a, b)
	}
	for _, id := range []installID{"", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAAAAAA\n", "AAAAAAAAAA\nAAAAAAAAAAAA", "++++++++++++++++++++AA", "AAAAAAAAAAAAAAAAAAAAAAAA"} {
		if id.valid() {
			t.Errorf("%q is valid", id)
		}
	}
}
