package transit_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/transit"
)

// checkAll has each method answer with want.
func checkAll(t *testing.T, w *transit.Wrapper, wrapped string, want error) {
	t.Helper()
	ctx := t.Context()
	_, err := w.Wrap(ctx, newDataKey(), []byte("here"))
	checkError(t, err, want)
	_, err = w.Unwrap(ctx, wrapped, []byte("here"))
	checkError(t, err, want)
	_, errs := w.RewrapBatch(ctx, []string{wrapped}, [][]byte{[]byte("here")})
	checkError(t, errs[0], want)
	_, err = w.LatestVersion(ctx)
	checkError(t, err, want)
	checkError(t, w.Rotate(ctx), want)
}

// The life of one Vault of its own: sealed, unsealed, paused, stopped.
func TestSealedPausedDown(t *testing.T) {
	v := ownVault(t)
	c, wire := clientAt(t, v.Addr(), v.RootToken())
	cfg := transit.Config{Client: c, Key: "k", CreateKey: true}
	w := open(t, cfg)
	dataKey := newDataKey()
	wrapped := wrap(t, w, dataKey, "here")

	if err := v.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	wire.count()
	checkAll(t, w, wrapped, atrest.ErrVaultSealed)
	_, err := transit.Open(t.Context(), cfg)
	checkError(t, err, atrest.ErrVaultSealed)
	if n := wire.count(); n != 6 {
		t.Errorf("%d requests to a sealed Vault, want 6: no retries", n)
	}
	if err := v.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkUnwrap(t, w, wrapped, "here", dataKey)

	if err := v.Pause(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	_, err = w.Wrap(ctx, dataKey, []byte("here"))
	checkError(t, err, context.DeadlineExceeded)
	_, err = w.LatestVersion(ctx)
	checkError(t, err, context.DeadlineExceeded)
	took(t, start, 200*time.Millisecond)
	cancel()
	if err := v.Resume(); err != nil {
		t.Fatal(err)
	}
	checkUnwrap(t, w, wrapped, "here", dataKey)

	if err := v.Kill(); err != nil {
		t.Fatal(err)
	}
	wire.count()
	checkAll(t, w, wrapped, atrest.ErrVaultUnavailable)
	if n := wire.count(); n != 4*4+1 {
		t.Errorf("%d requests to no Vault, want 4 of each but one rotate", n)
	}
	_, err = w.Wrap(t.Context(), dataKey, []byte("here"))
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		t.Errorf("looks like the caller's context: %v", err)
	}
}

func TestRequestTimeout(t *testing.T) {
	var tries atomic.Int64
	w, _ := openThrough(t, transit.Config{RequestTimeout: 50 * time.Millisecond, MaxTries: 2},
		func(rw http.ResponseWriter, r *http.Request, vault http.Handler) {
			tries.Add(1)
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		})
	_, err := w.Wrap(t.Context(), newDataKey(), []byte("here"))
	checkError(t, err, atrest.ErrVaultUnavailable)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("looks like the caller's deadline: %v", err)
	}
	if n := tries.Load(); n != 2 {
		t.Errorf("%d tries", n)
	}
}

// capture has Vault answer, and returns the answer.
func capture(r *http.Request, vault http.Handler) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	vault.ServeHTTP(rec, r)
	return rec
}

func TestPassingFaults(t *testing.T) {
	for name, fault := range map[string]func(rw http.ResponseWriter, r *http.Request, vault http.Handler){
		"cut answer": func(rw http.ResponseWriter, r *http.Request, vault http.Handler) {
			answer := capture(r, vault).Body.Bytes()
			rw.Header().Set("Content-Length", "1000")
			rw.Write(answer[:len(answer)/2])
			panic(http.ErrAbortHandler)
		},
		"cut refusal": func(rw http.ResponseWriter, r *http.Request, vault http.Handler) {
			rw.Header().Set("Content-Length", "1000")
			rw.WriteHeader(http.StatusForbidden)
			rw.Write([]byte(`{"errors":[`))
			panic(http.ErrAbortHandler)
		},
		"reset": func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) },
		"bad gateway": func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
			http.Error(rw, "<html>bad gateway</html>", http.StatusBadGateway)
		},
		"no active node": func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
			http.Error(rw, `{"errors":["local node not active but active cluster node not found"]}`, http.StatusInternalServerError)
		},
		"done, but cut": func(rw http.ResponseWriter, r *http.Request, vault http.Handler) {
			capture(r, vault)
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			faults := atomic.Int64{}
			w, wire := openThrough(t, transit.Config{}, func(rw http.ResponseWriter, r *http.Request, vault http.Handler) {
				if faults.Add(-1) >= 0 {
					fault(rw, r, vault)
					return
				}
				vault.ServeHTTP(rw, r)
			})
			dataKey := newDataKey()
			faults.Store(2)
			wrapped := wrap(t, w, dataKey, "here")
			if n := wire.count(); n != 3 {
				t.Errorf("%d requests, want 3", n)
			}
			faults.Store(1)
			checkUnwrap(t, w, wrapped, "here", dataKey)
			wire.count()
			faults.Store(1)
			if err := w.Rotate(t.Context()); err == nil {
				t.Error("a rotate that failed was repeated")
			}
			if n := wire.count(); n != 1 {
				t.Errorf("%d requests to rotate", n)
			}
		})
	}
}

// Garbage is not tried again, and the answer is never quoted.
func TestGarbage(t *testing.T) {
	for name, answer := range map[string]func(vault []byte, body []byte) string{
		"html":          func([]byte, []byte) string { return "<html>login</html>" },
		"nothing":       func([]byte, []byte) string { return "" },
		"null":          func([]byte, []byte) string { return "null" },
		"echo":          func(_, body []byte) string { return string(body) },
		"two documents": func(v, _ []byte) string { return string(v) + string(v) },
		"no results":    func([]byte, []byte) string { return `{"data":{}}` },
		"more results": func(v, _ []byte) string {
			return strings.Replace(string(v), `"batch_results":[`, `"batch_results":[{},`, 1)
		},
		"another one's": func(v, _ []byte) string { return strings.Replace(string(v), `"reference":"`, `"reference":"x`, 1) },
		"other type":    func(v, _ []byte) string { return strings.Replace(string(v), `"vault:v1:`, `"vault:v:`, 1) },
		"a key at all":  func([]byte, []byte) string { return `{"data":{"batch_results":[{"ciphertext":"vault:v1:AAAA"}]}}` },
		"no key":        func([]byte, []byte) string { return `{"data":{"batch_results":[{}]}}` },
		"endless":       func([]byte, []byte) string { return strings.Repeat(" ", 33<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			w, wire := openThrough(t, transit.Config{}, func(rw http.ResponseWriter, r *http.Request, vault http.Handler) {
				body, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(strings.NewReader(string(body)))
				io.WriteString(rw, answer(capture(r, vault).Body.Bytes(), body))
			})
			_, err := w.Wrap(t.Context(), newDataKey(), []byte("here"))
			checkError(t, err, atrest.ErrVaultUnavailable)
			if strings.Contains(err.Error(), "login") || strings.Contains(err.Error(), "batch") {
				t.Errorf("quotes the answer: %v", err)
			}
			if n := wire.count(); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestGarbageFromDecrypt(t *testing.T) {
	for name, alter := range map[string]func(result map[string]any){
		"empty":      func(r map[string]any) { r["plaintext"] = "" },
		"missing":    func(r map[string]any) { delete(r, "plaintext") },
		"number":     func(r map[string]any) { r["plaintext"] = 1 },
		"not base64": func(r map[string]any) { r["plaintext"] = "%%%%" },
		"reference":  func(r map[string]any) { r["reference"] = "other-0" },
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := openThrough(t, transit.Config{}, func(rw http.ResponseWriter, r *http.Request, vault http.Handler) {
				if !strings.Contains(r.URL.Path, "/decrypt/") {
					vault.ServeHTTP(rw, r)
					return
				}
				var a map[string]any
				json.Unmarshal(capture(r, vault).Body.Bytes(), &a)
				alter(a["data"].(map[string]any)["batch_results"].([]any)[0].(map[string]any))
				json.NewEncoder(rw).Encode(a)
			})
			_, err := w.Unwrap(t.Context(), wrap(t, w, newDataKey(), "here"), []byte("here"))
			checkError(t, err, atrest.ErrVaultUnavailable)
		})
	}
}

// A refusal that quotes the request must not get into the error.
func TestErrorsShowNoSecrets(t *testing.T) {
	for _, status := range []int{400, 403, 404, 429, 500, 503} {
		w, _ := openThrough(t, transit.Config{MaxTries: 1}, func(rw http.ResponseWriter, r *http.Request, _ http.Handler) {
			body, _ := io.ReadAll(r.Body)
			rw.WriteHeader(status)
			json.NewEncoder(rw).Encode(map[string]any{"errors": []string{string(body), r.Header.Get("X-Vault-Token")}})
		})
		_, err := w.Wrap(t.Context(), []byte(strings.Repeat("secret", 6)), []byte(strings.Repeat("context", 6)))
		for _, secret := range []string{"secret", "c2VjcmV0", "context context", "Y29udGV4", shared.RootToken()} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("status %d: shows %s: %v", status, secret, err)
			}
		}
	}
}

// A standby that does not forward redirects to the active node.
func TestRedirect(t *testing.T) {
	w, wire := openThrough(t, transit.Config{}, func(rw http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(rw, r, shared.Addr()+r.URL.Path, http.StatusTemporaryRedirect)
	})
	dataKey := newDataKey()
	checkUnwrap(t, w, wrap(t, w, dataKey, "here"), "here", dataKey)
	if n := wire.count(); n != 4 {
		t.Errorf("%d requests", n)
	}
}

func TestStuckConnectionHoldsUpNobody(t *testing.T) {
	var requests atomic.Int64
	release := make(chan struct{})
	w, _ := openThrough(t, transit.Config{}, func(rw http.ResponseWriter, r *http.Request, vault http.Handler) {
		if requests.Add(1) == 1 {
			<-release
		}
		vault.ServeHTTP(rw, r)
	})
	stuck := make(chan error)
	go func() {
		_, err := w.Wrap(t.Context(), newDataKey(), []byte("here"))
		stuck <- err
	}()
	for requests.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	start := time.Now()
	for range 10 {
		wrap(t, w, newDataKey(), "here")
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("10 calls behind a stuck one took %s", d)
	}
	close(release)
	if err := <-stuck; err != nil {
		t.Error(err)
	}
}

func TestRateLimit(t *testing.T) {
	v := ownVault(t)
	c, wire := clientAt(t, v.Addr(), v.RootToken())
	var log strings.Builder
	w := open(t, transit.Config{Client: c, Key: "k", CreateKey: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for path, data := range map[string]map[string]any{
		"sys/quotas/config":       {"enable_rate_limit_response_headers": true},
		"sys/quotas/rate-limit/q": {"path": "transit/", "rate": 1, "interval": "1s"},
	} {
		if _, err := c.Logical().Write(path, data); err != nil {
			t.Fatal(err)
		}
	}
	wire.count()
	start := time.Now()
	for range 2 {
		wrap(t, w, newDataKey(), "here")
	}
	n, d := wire.count(), time.Since(start)
	t.Logf("%d requests in %s: %s", n, d, log.String())
	if n < 3 || n > 4 || d > 3*time.Second || !strings.Contains(log.String(), "status 429") {
		t.Errorf("%d requests in %s", n, d)
	}
}

// What Vault asks to wait for longer than maxWait is up to the caller.
func TestRetryAfterTooLong(t *testing.T) {
	w, wire := openThrough(t, transit.Config{}, func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
		rw.Header().Set("Retry-After", "3600")
		rw.WriteHeader(http.StatusTooManyRequests)
		io.WriteString(rw, `{"errors":["rate limit quota exceeded"]}`)
	})
	_, err := w.Wrap(t.Context(), newDataKey(), []byte("here"))
	checkError(t, err, atrest.ErrVaultUnavailable)
	if n := wire.count(); n != 1 {
		t.Errorf("%d requests", n)
	}
}
