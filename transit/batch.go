package transit

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/vaultclient"
)

// operation is one of transit's batch operations.
type operation struct {
	name  string // in the path
	doing string // in errors
	input string // the name of an item's input
	head  string // of the body
}

// neverCreate is a key type that does not exist. Vault looks at the type in an
// encrypt request only if it is about to create the key, and refuses this one
// (pathEncryptWrite in Vault 1.13's and OpenBao's path_encrypt.go).
const neverCreate = "none-of-atrest-creates-keys"

// partial_failure_response_code lets Vault answer 200 if only some items
// failed. rewrap always does.
var (
	encryptOp = operation{"encrypt", "wrap", "plaintext",
		`{"type":"` + neverCreate + `","partial_failure_response_code":200,"batch_input":[`}
	decryptOp = operation{"decrypt", "unwrap", "ciphertext", `{"partial_failure_response_code":200,"batch_input":[`}
	rewrapOp  = operation{"rewrap", "rewrap", "ciphertext", `{"batch_input":[`}
)

// item is one item of a batch: a data key to encrypt, or a wrapped key.
type item struct {
	secret  []byte
	wrapped string
	context []byte
}

func (x item) wipe() { vaultclient.Wipe(x.secret) }

func (w *Wrapper) encrypt(ctx context.Context, items []item) ([]string, []error) {
	wrapped, errs, _ := w.newKeys(ctx, encryptOp, items)
	return wrapped, errs
}

func (w *Wrapper) decrypt(ctx context.Context, items []item) ([][]byte, []error) {
	results, errs, _ := w.batch(ctx, decryptOp, items)
	keys := make([][]byte, len(results))
	for i, r := range results {
		keys[i] = r.Plaintext
		if errs[i] == nil && len(keys[i]) == 0 {
			errs[i] = vaultclient.Garbage("an item without a plaintext")
		}
	}
	return keys, errs
}

// encryptOne sends a batch of one item: there alone is a reference, by which to know an answer
// that got mixed up on its way, and nothing else would tell before the object is needed.
func (w *Wrapper) encryptOne(ctx context.Context, x item) (string, error) {
	wrapped, errs := w.encrypt(ctx, []item{x})
	return wrapped[0], errs[0]
}

// decryptOne sends an item that is no batch, which takes Vault some 40 µs of 300 less. Of what was
// decrypted the caller knows whether it is the right key.
func (w *Wrapper) decryptOne(ctx context.Context, x item) ([]byte, error) {
	data, err := ask[result](ctx, w.vault, vaultclient.Request{
		Method: http.MethodPut, Path: w.mount + "/" + decryptOp.name + "/" + w.key, Capability: "update",
		Body: vaultclient.RawBody(append(appendItem([]byte{'{'}, decryptOp, x), '}')),
	})
	if refused, ok := errors.AsType[*vaultclient.RefusedError](err); ok {
		return nil, itemError(refused.Text)
	}
	switch {
	case err != nil:
		return nil, err
	case data == nil || len(data.Plaintext) == 0:
		return nil, vaultclient.Garbage("an answer without a plaintext")
	}
	return data.Plaintext, nil
}

// newKeys makes a batch that returns wrapped keys and checks each: what
// is stored instead of a wrapped key is an object lost. fatal is that of batch.
func (w *Wrapper) newKeys(ctx context.Context, op operation, items []item) (wrapped []string, errs []error, fatal error) {
	results, errs, fatal := w.batch(ctx, op, items)
	wrapped = make([]string, len(results))
	for i, r := range results {
		if errs[i] != nil {
			continue
		}
		if _, err := parseWrapped(r.Ciphertext); err != nil {
			errs[i] = vaultclient.Garbage("a wrapped key " + err.Error())
			continue
		}
		wrapped[i] = r.Ciphertext
	}
	return wrapped, errs, fatal
}

// batch makes one request of items and returns one result or error for each.
// If the request as a whole was refused, and not for a reason that concerns
// all items, it is made again in halves, down to the item at fault. fatal is
// the error of a request that failed for a reason that is no item's.
func (w *Wrapper) batch(ctx context.Context, op operation, items []item) (results []result, errs []error, fatal error) {
	results, err := w.exchange(ctx, op, items)
	_, refused := errors.AsType[*vaultclient.RefusedError](err)
	switch {
	case refused && len(items) > 1:
		return w.halves(ctx, op, items)
	case err != nil:
		if !refused {
			fatal = err
		}
		return make([]result, len(items)), slices.Repeat([]error{err}, len(items)), fatal
	}
	errs = make([]error, len(items))
	for i, r := range results {
		if r.Error != "" {
			errs[i] = itemError(r.Error)
		}
	}
	return results, errs, nil
}

func (w *Wrapper) halves(ctx context.Context, op operation, items []item) ([]result, []error, error) {
	half := len(items) / 2
	results1, errs1, fatal1 := w.batch(ctx, op, items[:half])
	results2, errs2, fatal2 := w.batch(ctx, op, items[half:])
	return append(results1, results2...), append(errs1, errs2...), errors.Join(fatal1, fatal2)
}

// exchange sends one batch and returns as many results as there are items.
func (w *Wrapper) exchange(ctx context.Context, op operation, items []item) ([]result, error) {
	// A reference of its own for each item and request: should an answer get
	// mixed up on its way, no object gets another one's key.
	nonce := rand.Text()[:13] // 65 bits
	data, err := ask[batchResults](ctx, w.vault, vaultclient.Request{
		Method: http.MethodPut, Path: w.mount + "/" + op.name + "/" + w.key, Capability: "update",
		Body: vaultclient.RawBody(encodeBatch(op, nonce, items)),
	})
	if err != nil {
		return nil, w.explain(ctx, op, err)
	}
	if data == nil {
		return nil, vaultclient.Garbage("an answer without data")
	}
	if err := checkResults(data.Results, nonce, len(items)); err != nil {
		for _, r := range data.Results {
			vaultclient.Wipe(r.Plaintext)
		}
		return nil, err
	}
	return data.Results, nil
}

// explain finds out what a refused encrypt means. Under a policy without
// "create", Vault answers "permission denied" if the key is missing.
func (w *Wrapper) explain(ctx context.Context, op operation, err error) error {
	if op == encryptOp && errors.Is(err, atrest.ErrPermission) {
		if _, missing := w.readKey(ctx); errors.Is(missing, atrest.ErrKeyNotFound) {
			return missing
		}
	}
	return err
}

func checkResults(results []result, nonce string, items int) error {
	if len(results) != items {
		return vaultclient.Garbage(strconv.Itoa(len(results)) + " results for " + strconv.Itoa(items) + " items")
	}
	for i, r := range results {
		// Vault before 1.12 does not return the reference.
		if r.Reference != "" && r.Reference != reference(nonce, i) {
			return vaultclient.Garbage("the answer to another request")
		}
	}
	return nil
}

func reference(nonce string, i int) string { return nonce + "-" + strconv.Itoa(i) }

// encodeBatch writes the request's JSON into one buffer that never grows, so
// that no copy of a data key is left behind. Nothing in it needs escaping.
func encodeBatch(op operation, nonce string, items []item) []byte {
	size := len(op.head) + 2
	for _, x := range items {
		size += 128 + len(x.wrapped) + base64.StdEncoding.EncodedLen(len(x.secret)) +
			base64.StdEncoding.EncodedLen(len(x.context))
	}
	b := append(make([]byte, 0, size), op.head...)
	for i, x := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"reference":"`+nonce+"-"...)
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(appendItem(append(b, `",`...), op, x), '}')
	}
	return append(b, `]}`...)
}

// appendItem appends the fields of an item that are not those of a batch.
func appendItem(b []byte, op operation, x item) []byte {
	b = append(b, `"context":"`...)
	b = base64.StdEncoding.AppendEncode(b, x.context)
	b = append(b, `","`+op.input+`":"`...)
	b = append(b, x.wrapped...)
	b = base64.StdEncoding.AppendEncode(b, x.secret)
	return append(b, '"')
}
