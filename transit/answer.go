package transit

import (
	"context"
	"net/http"

	"github.com/atrest/atrest/internal/vaultclient"
)

// result is one item of batch_results, in answer to encrypt (Ciphertext),
// decrypt (Plaintext) or rewrap (Ciphertext).
type result struct {
	Ciphertext string                  `json:"ciphertext"`
	Plaintext  vaultclient.Base64Bytes `json:"plaintext"`
	Error      string                  `json:"error"`
	Reference  string                  `json:"reference"`
}

type batchResults struct {
	Results []result `json:"batch_results"`
}

// withData are the statuses with which Vault sends the results of a batch in
// which each item failed (batchRequestResponse in path_encrypt.go).
var withData = []int{http.StatusBadRequest, http.StatusInternalServerError}

// ask sends a request, again where that is safe and may help, and returns the
// data of the answer, which is nil if Vault answered "done" without any.
func ask[T any](ctx context.Context, v *vaultclient.Client, r vaultclient.Request) (*T, error) {
	r.Accept, r.Refused = withData, refusal
	answer, _, err := vaultclient.Do[vaultclient.Data[T]](ctx, v, r)
	if err != nil || answer == nil {
		return nil, err
	}
	return answer.Data, nil
}
