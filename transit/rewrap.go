package transit

import (
	"context"
	"errors"
)

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
	rewrapped, errs = make([]string, len(wrapped)), make([]error, len(wrapped))
	var items []item
	var at []int // where items[i] belongs
	for i, s := range wrapped {
		if errs[i] = checkRewrap(s, keyContexts, i); errs[i] == nil {
			items, at = append(items, item{wrapped: s, context: keyContexts[i]}), append(at, i)
		}
	}
	for i := 0; i < len(items); i += w.maxBatch {
		n := min(len(items)-i, w.maxBatch)
		keys, keyErrs, fatal := w.rewrap(ctx, items[i:i+n])
		for j := range keys {
			rewrapped[at[i+j]], errs[at[i+j]] = keys[j], keyErrs[j]
		}
		if fatal != nil {
			for _, j := range at[i+n:] {
				errs[j] = fatal
			}
			break
		}
	}
	for i, err := range errs {
		if err != nil {
			errs[i] = w.failed("rewrap", err)
		}
	}
	return rewrapped, errs
}

func checkRewrap(wrapped string, keyContexts [][]byte, i int) error {
	if i >= len(keyContexts) {
		return errors.New("no context given for this wrapped key")
	}
	return checkWrapped(wrapped, keyContexts[i])
}

func (w *Wrapper) rewrap(ctx context.Context, items []item) (keys []string, errs []error, fatal error) {
	results, errs, fatal := w.batch(ctx, rewrapOp, items)
	keys, errs = wrappedKeys(results, errs)
	return keys, errs, fatal
}
