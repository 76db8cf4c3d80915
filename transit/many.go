package transit

import (
	"context"
	"fmt"
)

// WrapBatch is [Wrapper.Wrap] for many data keys at once, for imports: where many
// goroutines call Wrap, their calls share requests anyway.
//
// The results have the length of dataKeys: for each i, either errs[i] is nil and
// wrapped[i] is dataKeys[i] bound to keyContexts[i], or wrapped[i] is empty. After an
// error that concerns Vault and not an item, the remaining items get the same error and
// are not sent.
//
// More than Config.MaxBatch items take several requests, one after the other;
// calls may run concurrently. Repeating a WrapBatch is safe.
func (w *Wrapper) WrapBatch(ctx context.Context, dataKeys, keyContexts [][]byte) (wrapped []string, errs []error) {
	return w.inBatches(ctx, encryptOp, len(dataKeys), func(i int) (item, error) {
		if len(keyContexts) != len(dataKeys) {
			return item{}, fmt.Errorf("%d contexts given for %d data keys", len(keyContexts), len(dataKeys))
		}
		return item{secret: dataKeys[i], context: keyContexts[i]}, checkSizes(dataKeys[i], keyContexts[i])
	})
}

// RewrapBatch has Vault decrypt each wrapped key and encrypt it again under
// the newest version of the transit key, without showing it to us. wrapped[i]
// must have been wrapped with keyContexts[i], and stays bound to it. A key
// that is under the newest version already gets new bytes all the same.
//
// The results have the length of wrapped: for each i, either errs[i] is nil
// and rewrapped[i] takes the place of wrapped[i], or rewrapped[i] is empty.
// Errors of items are those of Unwrap. After an error that concerns Vault and
// not an item, the remaining items get the same error and are not sent.
//
// More than Config.MaxBatch items take several requests, one after the other;
// calls may run concurrently. Repeating a RewrapBatch is safe.
func (w *Wrapper) RewrapBatch(ctx context.Context, wrapped []string, keyContexts [][]byte) (rewrapped []string, errs []error) {
	return w.inBatches(ctx, rewrapOp, len(wrapped), func(i int) (item, error) {
		if len(keyContexts) != len(wrapped) {
			return item{}, fmt.Errorf("%d contexts given for %d wrapped keys", len(keyContexts), len(wrapped))
		}
		return item{wrapped: wrapped[i], context: keyContexts[i]}, checkWrapped(wrapped[i], keyContexts[i])
	})
}

// inBatches makes requests of n items, without those that are refused beforehand. Nobody
// uses an item any more when it returns.
func (w *Wrapper) inBatches(ctx context.Context, op operation, n int, get func(i int) (item, error)) (keys []string, errs []error) {
	keys, errs = make([]string, n), make([]error, n)
	items := make([]item, 0, n)
	at := make([]int, 0, n) // where items[i] belongs
	for i := range n {
		var x item
		if x, errs[i] = get(i); errs[i] == nil {
			items, at = append(items, x), append(at, i)
		}
	}
	for i := 0; i < len(items); i += w.maxBatch {
		end := min(i+w.maxBatch, len(items))
		batch, batchErrs, fatal := w.newKeys(ctx, op, items[i:end])
		for j := range batch {
			keys[at[i+j]], errs[at[i+j]] = batch[j], batchErrs[j]
		}
		if fatal != nil {
			for _, j := range at[end:] {
				errs[j] = fatal
			}
			break
		}
	}
	for i, err := range errs {
		if err != nil {
			errs[i] = w.failed(op.doing, err)
		}
	}
	return keys, errs
}
