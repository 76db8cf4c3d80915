package vaultclient

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestBase64Bytes(t *testing.T) {
	for text, want := range map[string]string{
		`"c2VjcmV0"`: "secret", `""`: "", `"c2Vj\u0063mV0"`: "!", `"c2VjcmV"`: "!", `1`: "!", `{}`: "!", `["c2Vj"]`: "!", `"Zh=="`: "!",
	} {
		var p Base64Bytes
		err := json.Unmarshal([]byte(text), &p)
		if (err != nil) != (want == "!") || err == nil && string(p) != want {
			t.Errorf("%s: %q, %v", text, string(p), err)
		}
		if err != nil && strings.Contains(err.Error(), "c2V") {
			t.Errorf("the error shows the text: %v", err)
		}
	}
}

func TestTextBytes(t *testing.T) {
	for text, want := range map[string]string{
		`"hvs.CAES-_x"`: "hvs.CAES-_x", `""`: "", `"a b"`: "a b", `"\u0061bc"`: "!", `"a\\b"`: "!", `"a\"b"`: "!", `"é"`: "!",
		`1`: "!", `{}`: "!", `["abc"]`: "!",
	} {
		var b TextBytes
		err := json.Unmarshal([]byte(text), &b)
		if (err != nil) != (want == "!") || err == nil && string(b) != want {
			t.Errorf("%s: %q, %v", text, string(b), err)
		}
		if err != nil && strings.Contains(err.Error(), "bc") {
			t.Errorf("the error shows the text: %v", err)
		}
	}
}

// Neither fmt nor a log nor JSON shows what is in there.
func TestValuesShowNothing(t *testing.T) {
	body, err := Body(nil, SecretField{"key", []byte("hunter2")})
	if err != nil {
		t.Fatal(err)
	}
	x := struct {
		A Base64Bytes
		B TextBytes
		C []TextBytes
		R Request
	}{Base64Bytes("hunter2"), TextBytes("hunter2"), []TextBytes{TextBytes("hunter2")}, Request{Body: body}}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb, x)
		fmt.Fprintf(&out, verb, x.A)
		fmt.Fprintf(&out, verb, x.B)
		fmt.Fprintf(&out, verb, body)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "a", x.A, "b", x.B, "c", x.C)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "a", x.A, "b", x.B, "c", x.C)
	for _, shown := range []string{"hunter2", "68756e", "104 117", "0x68, 0x75", base64.StdEncoding.EncodeToString([]byte("hunter2"))} {
		if strings.Contains(out.String(), shown) {
			t.Errorf("shows %s: %s", shown, out.String())
		}
	}
	if n := strings.Count(out.String(), redacted); n < 7*7 {
		t.Errorf("%d redacted: %s", n, out.String())
	}
}

func TestBody(t *testing.T) {
	secret := []byte("s3cr/t+==")
	for _, x := range []struct {
		v    any
		with []SecretField
		want string // empty: refused
	}{
		{nil, nil, `{}`},
		{map[string]any{"n": 1}, nil, `{"n":1}`},
		{nil, []SecretField{{"key", secret}}, `{"key":"s3cr/t+=="}`},
		{struct {
			Reset bool `json:"reset"`
		}{}, []SecretField{{"key", secret}, {"x", nil}}, `{"reset":false,"key":"s3cr/t+==","x":""}`},
		{struct{}{}, []SecretField{{"key", secret}}, `{"key":"s3cr/t+=="}`},
		{[]int{1}, nil, ""},
		{map[string]any(nil), nil, ""},
		{nil, []SecretField{{"key", []byte(`a","b":"c`)}}, ""},
		{nil, []SecretField{{"key", []byte("a\\")}}, ""},
		{nil, []SecretField{{"key", []byte("ä")}}, ""},
		{func() {}, nil, ""},
	} {
		body, err := Body(x.v, x.with...)
		if err != nil || x.want == "" {
			if (err == nil) != (x.want != "") {
				t.Errorf("%T with %d secrets: %v, want %q", x.v, len(x.with), err, x.want)
			}
			continue
		}
		if string(body.data) != x.want {
			t.Errorf("%s, want %s", body.data, x.want)
		}
		// An array that has grown would have left a copy of a secret behind.
		if cap(body.data) > len(body.data)+8 && len(x.with) > 0 {
			t.Errorf("%d bytes in %d", len(body.data), cap(body.data))
		}
	}
	if string(secret) != "s3cr/t+==" {
		t.Error("the caller's secret was touched")
	}
}

func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		"  no such\n key ":                                `"no such key"`,
		`bad {"key":"x"}`:                                 `"bad"`,
		"token hvs.CAESIJ-_x is bad":                      `"token [redacted] is bad"`,
		"token s.abc":                                     `"token [redacted]"`,
		"key " + strings.Repeat("A", 32):                  `"key [redacted]"`,
		"jwt " + strings.Repeat("eyJ-_", 9) + ".x":        `"jwt [redacted].x"`,
		"key " + strings.Repeat("0f", 32):                 `"key [redacted]"`,
		"role " + strings.Repeat("ab ", 200):              `"role ` + strings.Repeat("ab ", 98) + `a"`,
		"id 2b1ec1d4-6b7f-4e4b-9d0e-0c5d0b5a7f11 unknown": `"id [redacted] unknown"`,
	} {
		if got := Redact(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
