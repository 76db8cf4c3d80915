package transit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/transit"
)

func contextOf(n int) string { return fmt.Sprintf("context %d", n) }

func TestConcurrentCallsShareRequests(t *testing.T) {
	w, wire, _ := openNew(t)
	const n = 64
	dataKeys, wrapped := make([][]byte, n), make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		dataKeys[i] = newDataKey()
		wg.Go(func() { wrapped[i] = wrap(t, w, dataKeys[i], contextOf(i)) })
	}
	wg.Wait()
	wraps := wire.count()
	for i := range n {
		wg.Go(func() { checkUnwrap(t, w, wrapped[i], contextOf(i), dataKeys[i]) })
	}
	wg.Wait()
	unwraps := wire.count()
	t.Logf("%d wraps took %d requests, as many unwraps %d", n, wraps, unwraps)
	if wraps > n/4 || unwraps > n/4 {
		t.Error("too many requests")
	}
}

func TestBadItemFailsAlone(t *testing.T) {
	w, _, _ := openNew(t)
	dataKey := newDataKey()
	wrapped := wrap(t, w, dataKey, "here")
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			if i%2 == 0 {
				checkUnwrap(t, w, wrapped, "here", dataKey)
				return
			}
			_, err := w.Unwrap(t.Context(), wrapped, []byte("there"))
			checkError(t, err, atrest.ErrTampered)
		})
	}
	wg.Wait()
}

func TestRewrapBatch(t *testing.T) {
	c, wire := rootClient(t)
	w := open(t, transit.Config{Client: c, Key: derivedKey(t), MaxBatch: 10})
	const n, bad, malformed = 25, 7, 13
	var dataKeys, contexts [][]byte
	var wrapped []string
	for i := range n {
		dataKeys, contexts = append(dataKeys, newDataKey()), append(contexts, []byte(contextOf(i)))
		wrapped = append(wrapped, wrap(t, w, dataKeys[i], contextOf(i)))
	}
	wrapped[bad], wrapped[malformed] = wrapped[bad+1], "vault:v1:"
	if err := w.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	wire.count()
	rewrapped, errs := w.RewrapBatch(t.Context(), wrapped, contexts)
	if got := wire.count(); got != 3 {
		t.Errorf("%d requests for %d items", got, n)
	}
	if len(rewrapped) != n || len(errs) != n {
		t.Fatalf("%d results, %d errors", len(rewrapped), len(errs))
	}
	for i := range n {
		if i == bad || i == malformed {
			checkError(t, errs[i], atrest.ErrTampered)
			if rewrapped[i] != "" {
				t.Error("a result beside an error")
			}
			continue
		}
		if errs[i] != nil || !strings.HasPrefix(rewrapped[i], "vault:v2:") {
			t.Fatalf("item %d: %.9q, %v", i, rewrapped[i], errs[i])
		}
		checkUnwrap(t, w, rewrapped[i], contextOf(i), dataKeys[i])
		_, err := w.Unwrap(t.Context(), rewrapped[i], []byte(contextOf(i+1)))
		checkError(t, err, atrest.ErrTampered)
	}
}

func TestWrapBatch(t *testing.T) {
	c, wire := rootClient(t)
	w := open(t, transit.Config{Client: c, Key: derivedKey(t), MaxBatch: 10})
	const n, empty = 25, 7
	var dataKeys, contexts [][]byte
	for i := range n {
		dataKeys, contexts = append(dataKeys, newDataKey()), append(contexts, []byte(contextOf(i)))
	}
	dataKeys[empty] = nil
	wire.count()
	for _, few := range [][][]byte{nil, contexts[:n-1], append(contexts[:n:n], []byte("one more"))} {
		wrapped, errs := w.WrapBatch(t.Context(), dataKeys, few)
		_, errs2 := w.RewrapBatch(t.Context(), make([]string, n), few)
		for i, err := range append(errs, errs2...) {
			if err == nil || !strings.Contains(err.Error(), "contexts given for 25") || wrapped[i%n] != "" {
				t.Errorf("%d contexts: %v", len(few), err)
			}
		}
	}
	wire.count()
	wrapped, errs := w.WrapBatch(t.Context(), dataKeys, contexts)
	if got := wire.count(); got != 3 {
		t.Errorf("%d requests for %d items", got, n)
	}
	if len(wrapped) != n || len(errs) != n {
		t.Fatalf("%d results, %d errors", len(wrapped), len(errs))
	}
	for i := range n {
		if i == empty {
			if errs[i] == nil || wrapped[i] != "" {
				t.Errorf("item %d: %q, %v", i, wrapped[i], errs[i])
			}
			continue
		}
		if errs[i] != nil {
			t.Fatalf("item %d: %v", i, errs[i])
		}
		checkUnwrap(t, w, wrapped[i], contextOf(i), dataKeys[i])
	}
}

func TestRewrapBatchSizes(t *testing.T) {
	w, wire, _ := openNew(t)
	if keys, errs := w.RewrapBatch(t.Context(), nil, nil); len(keys) != 0 || len(errs) != 0 {
		t.Errorf("%d results, %d errors of nothing", len(keys), len(errs))
	}
	if n := wire.count(); n != 0 {
		t.Errorf("%d requests for nothing", n)
	}
	wrapped := wrap(t, w, newDataKey(), "here")
	_, errs := w.RewrapBatch(t.Context(), []string{wrapped, wrapped}, [][]byte{[]byte("here")})
	if errs[0] == nil || errs[1] == nil {
		t.Errorf("one context for two: %v", errs)
	}
}

// Each batch that holds a poisoned item is refused as a whole.
func TestRefusedBatchIsHalved(t *testing.T) {
	poison := []byte("cG9pc29u") // base64 of poison
	w, wire := openThrough(t, transit.Config{}, func(rw http.ResponseWriter, r *http.Request, vault http.Handler) {
		body, _ := io.ReadAll(r.Body)
		if bytes.Contains(body, poison) {
			rw.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(rw, `{"errors":[%q]}`, "I do not like "+string(body))
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		vault.ServeHTTP(rw, r)
	})
	const n = 50
	contexts, wrapped := make([][]byte, n), make([]string, n)
	for i := range n {
		contexts[i] = []byte(contextOf(i))
		wrapped[i] = wrap(t, w, newDataKey(), contextOf(i))
	}
	contexts[33] = []byte("poison")
	wire.count()
	rewrapped, errs := w.RewrapBatch(t.Context(), wrapped, contexts)
	requests := wire.count()
	for i := range n {
		if (errs[i] != nil) != (i == 33) || (rewrapped[i] == "") != (i == 33) {
			t.Errorf("item %d: %v", i, errs[i])
		}
	}
	if err := errs[33]; strings.Contains(err.Error(), wrapped[33]) || strings.Contains(err.Error(), "cG9pc29u") {
		t.Errorf("the error shows the item: %v", err)
	}
	t.Logf("%d requests: %v", requests, errs[33])
	if requests > 14 {
		t.Errorf("%d requests", requests)
	}

	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			keyContext := contextOf(i)
			if i == 33 {
				keyContext = "poison"
			}
			if _, err := w.Wrap(t.Context(), newDataKey(), []byte(keyContext)); (err != nil) != (i == 33) {
				t.Errorf("item %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

func TestCancelledCallersDisturbNobody(t *testing.T) {
	w, _, _ := openNew(t)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			if i%2 == 0 {
				wrap(t, w, newDataKey(), "here")
				return
			}
			ctx, cancel := context.WithCancel(t.Context())
			go cancel()
			if _, err := w.Wrap(ctx, newDataKey(), []byte("here")); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
