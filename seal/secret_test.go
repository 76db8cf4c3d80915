package seal

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// shown are the spellings in which a secret might show.
func shown(secret string) []string {
	list := fmt.Sprint([]byte(secret)) // as fmt prints a slice of bytes
	return []string{secret, hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))),
		base64.StdEncoding.EncodeToString([]byte(secret)), list[1 : len(list)-1],
		strings.Trim(fmt.Sprintf("%#v", []byte(secret)), "[]byte{}")}
}

// printed is all that the usual ways of printing make of v.
func printed(v any) string {
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x", "%T"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	text, _ := json.Marshal(v) // what can't be encoded shows nothing
	b.Write(text)
	text, _ = xml.Marshal(v)
	b.Write(text)
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
	return b.String()
}

func TestNothingShowsSecrets(t *testing.T) {
	const marker = "MARKER-SECRET-OF-32-BYTES-IN-ALL"
	s := secretOf(marker)
	keys := &unsealKeys{threshold: 1, shares: []*secret{s}}
	role := &appRole{"approle", "atrest", s, s, s}
	k := cheapKDF(t)
	if _, err := k.key(s, newSalt(), cheapParams); err != nil {
		t.Fatal(err)
	}
	p := &payload{keys: keys, pending: keys, appRole: role, nextAppRole: role}
	_, r := mustSeal(t, k, headerOf(stateReady), p, marker)
	f := &passwordFile{install: newInstallID(), generation: 1, password: s, pending: s}
	jrole := jsonAppRole{"approle", "atrest", jsonText{s}, jsonText{s}, jsonText{s}}
	share := &share{newAttemptID(), 1, s}
	jkeys := jsonKeys{Threshold: 1, Shares: []jsonBase64{{s}}}

	jpayload := jsonPayload{Keys: &jkeys, Pending: &jkeys, AppRole: &jrole, NextAppRole: &jrole, Share: jsonBase64{s}}
	for _, v := range []any{
		s, *s, []*secret{s}, []secret{*s}, struct{ s *secret }{s}, struct{ s secret }{*s}, struct{ S *secret }{s},
		struct{ S secret }{*s}, map[string]*secret{"a": s}, []any{s, *s},
		keys, *keys, role, *role, p, *p, f, *f, k, k.keys, k.keys[0], r, *r, r.recordHeader,
		jrole, jkeys, jpayload, &jpayload, share, *share, &payload{share: share},
	} {
		out := printed(v)
		for _, spelling := range shown(marker) {
			if strings.Contains(out, spelling) {
				t.Errorf("%T shows the secret: %s", v, out)
			}
		}
	}
	if out := printed(struct{ S string }{marker}); !strings.Contains(out, shown(marker)[0]) || !strings.Contains(out, shown(marker)[1]) {
		t.Errorf("this test sees nothing: %s", out)
	}
}

// Errors say nothing of the secrets that they are about.
func TestErrorsShowNoSecrets(t *testing.T) {
	const marker = "MARKER-SECRET-OF-32-BYTES-IN-ALL"
	dir := privateDir(t)
	var errs []error
	add := func(err error) {
		t.Helper()
		if err == nil {
			t.Error("no error")
		}
		errs = append(errs, err)
	}
	mustWrite(t, dir+"/key", marker, 0o400)
	_, err := KeyFile(dir + "/key").InstanceKey(t.Context())
	add(err)
	t.Setenv("SEAL_TEST_KEY", marker)
	_, err = Environment("SEAL_TEST_KEY").InstanceKey(t.Context())
	add(err)
	mustWrite(t, dir+"/password", "$atrest-password$"+marker, 0o600)
	_, err = readPasswordFile(dir+"/password", []byte(marker))
	add(err)
	add(checkPassword([]byte(marker + "\n")))
	add(checkPassword([]byte(strings.Repeat(marker, 100))))
	_, err = parseRecord([]byte("$atrest-seal$" + marker))
	add(err)
	k := cheapKDF(t)
	_, r := mustSeal(t, k, headerOf(stateReady), &payload{keys: keysOf(1)}, testPassword)
	_, err = r.open(k, secretOf(marker))
	add(err)
	for _, contents := range []string{
		`{"keys":{"threshold":1,"shares":["` + marker + `!"]}}`, `{"keys":{"threshold":"` + marker + `"}}`, `{"` + marker + `":1}`, marker,
		`{"attempt":"` + marker + `"}`,
	} {
		_, err = sealRaw(t, headerOf(stateReady), pad([]byte(contents), recordPad, ' '), testPassword).open(k, secretOf(testPassword))
		add(err)
	}
	_, err = sealRecord(k, headerOf(stateReady), &payload{keys: keysOf(1), appRole: &appRole{mount: marker}}, secretOf(marker))
	add(err)
	for _, err := range errs {
		for _, spelling := range shown(marker) {
			if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), spelling) {
				t.Errorf("shows the secret: %v", err)
			}
		}
	}
}

func TestSecret(t *testing.T) {
	s := secretOf("abc")
	c := s.clone()
	alias := *s
	if !s.equal(c) || s.equal(secretOf("abd")) || s.equal(secretOf("abcd")) || s.equal(nil) {
		t.Error("equal is wrong")
	}
	under := s.bytes()
	s.wipe()
	s.wipe()
	if string(under) != "\x00\x00\x00" || s.size() != 0 || alias.size() != 0 || string(c.bytes()) != "abc" {
		t.Errorf("after wiping: %q, %d, %d, %q", under, s.size(), alias.size(), c.bytes())
	}
	var none *secret
	none.wipe()
	(&secret{}).wipe()
	if none.size() != 0 || none.bytes() != nil || !none.equal(&secret{}) || none.clone().size() != 0 {
		t.Error("the nil secret is not empty")
	}
	if out := printed(none); !strings.Contains(out, "nil") {
		t.Errorf("nil prints %s", out)
	}
}

func TestWipedAfterUse(t *testing.T) {
	p := payloads()["all"].p
	var under [][]byte
	for _, s := range append(append([]*secret{p.appRole.roleID, p.appRole.secretID, p.appRole.accessor, p.nextAppRole.secretID},
		p.keys.shares...), p.pending.shares...) {
		under = append(under, s.bytes())
	}
	f := &passwordFile{password: secretOf(testPassword), pending: secretOf(testPassword)}
	under = append(under, f.password.bytes(), f.pending.bytes())
	k := &kdfCache{}
	if _, err := k.key(secretOf(testPassword), newSalt(), cheapParams); err != nil {
		t.Fatal(err)
	}
	under = append(under, k.keys[0].password.bytes(), k.keys[0].key.bytes())
	p.wipe()
	f.wipe()
	k.close()
	for i, b := range under {
		if strings.Trim(string(b), "\x00") != "" || len(b) == 0 {
			t.Errorf("%d: %q is left", i, b)
		}
	}
	(*payload)(nil).wipe()
	(*passwordFile)(nil).wipe()
}
