package transit

import (
	"context"
	"encoding/json"
	"net/http"
)

// envelope is the outer form of each of Vault's answers.
type envelope[T any] struct {
	Data   *T       `json:"data"`
	Errors []string `json:"errors"`
}

// result is one item of batch_results, in answer to encrypt (Ciphertext),
// decrypt (Plaintext) or rewrap (Ciphertext).
type result struct {
	Ciphertext string    `json:"ciphertext"`
	Plaintext  plaintext `json:"plaintext"`
	Error      string    `json:"error"`
	Reference  string    `json:"reference"`
}

type batchResults struct {
	Results []result `json:"batch_results"`
}

// ask sends a request, again where that is safe and may help, and returns the
// data of the answer, which is nil if Vault answered "done" without any.
func ask[T any](ctx context.Context, v *vault, r request) (data *T, err error) {
	err = v.retry(ctx, r, func() error {
		a, err := v.try(ctx, r)
		if err != nil {
			return err
		}
		defer wipe(a.body)
		data, err = decode[T](r, a)
		return err
	})
	return data, err
}

// decode returns the data of an answer or the error that it is. Data counts
// whatever the status: Vault sends the results of a batch along with 400 if
// each item failed (batchRequestResponse in path_encrypt.go).
func decode[T any](r request, a *answer) (*T, error) {
	done := a.status >= 200 && a.status < 300
	if done && len(a.body) == 0 {
		return nil, nil
	}
	var e envelope[T]
	if err := json.Unmarshal(a.body, &e); err != nil {
		return nil, notVault(a) // err may quote the answer
	}
	if e.Data != nil && (done || a.status == http.StatusBadRequest || a.status == http.StatusInternalServerError) {
		return e.Data, nil
	}
	if done || e.Errors == nil {
		return nil, notVault(a)
	}
	return nil, refusal(r, a, e.Errors)
}
