package vaultclient

import (
	"net/http"
	"testing"
)

// Whatever the answer, it is a value or an error, and never data that is not there.
func FuzzAnswer(f *testing.F) {
	const data = `{"data":{"batch_results":[{"plaintext":"AAAA"}]}}`
	f.Add(200, []byte(`{"data":{"batch_results":[{"plaintext":"AAAA"}]},"errors":null}`))
	f.Add(400, []byte(data))
	f.Add(400, []byte(`{"data":null,"errors":["no"]}`))
	f.Add(503, []byte(`{"errors":["Vault is sealed"]}`))
	f.Add(404, []byte(`{"errors":[]}`))
	f.Add(404, []byte(`null`))
	f.Add(200, []byte(`{}`))
	f.Add(400, []byte(`{"data":null,"errors":null}`))
	f.Add(204, []byte(nil))
	f.Add(200, []byte(`{"data":{"batch_results":[{"plaintext":"AAAA","plaintext":"B\u0041=="}]}}`))
	type results struct {
		Results []struct {
			Plaintext Base64Bytes `json:"plaintext"`
		} `json:"batch_results"`
	}
	r := Request{Method: http.MethodPut, Path: "p", Capability: "update", Accept: []int{400}}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		value, err := decode[Data[results]](new(Client), r, &answer{status: status, body: body})
		done := status/100 == 2
		switch {
		case err != nil && value != nil:
			t.Error("a value beside an error")
		case err == nil && value == nil && (!done || len(body) > 0):
			t.Error("neither a value nor an error")
		case value != nil && value.Data == nil:
			t.Error("a value without data")
		case value != nil && !done && status != 400:
			t.Error("a value of a status that was not accepted")
		}
	})
}
