package transit

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const goodWrapped = "vault:v1:NJ8vIRtyJuXoM0nfKLB570uOpKSDzWVHlHFtIXAS8w=="

func TestParseWrapped(t *testing.T) {
	sealed := strings.TrimPrefix(goodWrapped, "vault:v1:")
	for s, want := range map[string]uint32{
		goodWrapped:                                     1,
		"vault:v4294967295:" + sealed:                   4294967295,
		"vault:v4294967296:" + sealed:                   0,
		"vault:v0:" + sealed:                            0,
		"vault:v01:" + sealed:                           0,
		"vault:v+1:" + sealed:                           0,
		"vault:v:" + sealed:                             0,
		"vault:1:" + sealed:                             0,
		"Vault:v1:" + sealed:                            0,
		"vault:v1" + sealed:                             0,
		" " + goodWrapped:                               0,
		goodWrapped + "\n":                              0,
		"vault:v1:" + sealed[:10] + "\n" + sealed[10:]:  0,
		strings.TrimRight(goodWrapped, "="):             0,
		strings.Replace(goodWrapped, "8w==", "8x==", 1): 0, // not canonical
		"vault:v1:" + sealed[:36]:                       0, // too short
		"vault:v1:" + strings.Repeat("AAAA", 300):       0, // too long
	} {
		got, err := parseWrapped(s)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
}

// What is accepted has one spelling: it is what is made of its parts.
func FuzzParseWrapped(f *testing.F) {
	f.Add(goodWrapped)
	f.Add("vault:v12:" + strings.Repeat("A", 40))
	f.Add("vault:v0:\n==")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parseWrapped(s)
		if err != nil {
			return
		}
		raw, err := base64.StdEncoding.DecodeString(s[strings.LastIndex(s, ":")+1:])
		if again := fmt.Sprintf("vault:v%d:%s", v, base64.StdEncoding.EncodeToString(raw)); err != nil || again != s {
			t.Errorf("%q is also spelled %q, %v", s, again, err)
		}
	})
}

// Whatever the data of an answer, it is as many results as asked for, or an error.
func FuzzResults(f *testing.F) {
	const item = `{"plaintext":"AAAA","ciphertext":"` + goodWrapped + `","reference":"n-0"}`
	f.Add([]byte(`{"batch_results":[` + item + `]}`))
	f.Add([]byte(`{"batch_results":[{"plaintext":"","error":"invalid ciphertext length","reference":"n-0"}]}`))
	f.Add([]byte(`{"batch_results":[{"plaintext":"AAAA","plaintext":"B\u0041=="}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var data batchResults
		if json.Unmarshal(text, &data) != nil {
			return
		}
		if checkResults(data.Results, "n", 1) == nil && len(data.Results) != 1 {
			t.Errorf("%d results for one item", len(data.Results))
		}
		for _, r := range data.Results {
			_ = itemError(r.Error)
		}
	})
}
