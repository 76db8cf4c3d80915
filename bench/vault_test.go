package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/disk"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/internal/devvault"
	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
)

// vault is the real Vault that all tests and benchmarks share.
var vault *devvault.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx := context.Background()
	var err error
	if vault, err = devvault.Shared(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := 1
	if err = vault.EnableTransit(ctx, "transit"); err == nil {
		code = m.Run()
	}
	if err = errors.Join(err, vault.Stop()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// wire counts the requests that a client sends to Vault.
type wire struct {
	transport *http.Transport
	requests  atomic.Int64
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.requests.Add(1)
	return w.transport.RoundTrip(r)
}

// count returns the number of requests since the last call.
func (w *wire) count() int64 { return w.requests.Swap(0) }

// newClient returns a client with a wire of its own. It keeps as many
// connections as the benchmarks have callers, the naive ones included.
func newClient(t testing.TB) (*api.Client, *wire) {
	t.Helper()
	w := &wire{transport: &http.Transport{MaxIdleConnsPerHost: callers}}
	client, err := api.NewClient(&api.Config{Address: vault.Addr(), HttpClient: &http.Client{Transport: w}})
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(vault.RootToken())
	t.Cleanup(w.transport.CloseIdleConnections)
	return client, w
}

// newKeys returns a wrapper over a transit key of its own, the client that it
// uses, and that one's wire.
func newKeys(t testing.TB) (*transit.Wrapper, *api.Client, *wire) {
	t.Helper()
	client, w := newClient(t)
	keys, err := transit.Open(t.Context(), transit.Config{
		Client: client, Key: "key-" + strings.ToLower(rand.Text()), CreateKey: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.count()
	return keys, client, w
}

func newStore(t testing.TB, blobs backend.Blobs, keys storage.KeyWrapper) *storage.Store {
	t.Helper()
	store, err := storage.New(storage.Config{ID: "bench", Backend: blobs, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// backends are those that need no server.
var backends = []struct {
	name string
	open func(testing.TB) backend.Blobs
}{
	{"memory", func(testing.TB) backend.Blobs { return memory.New() }},
	{"disk", newDisk},
}

func newDisk(t testing.TB) backend.Blobs {
	t.Helper()
	blobs, err := disk.New(t.Context(), disk.Config{Dir: t.TempDir() + "/store"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := blobs.Close(); err != nil {
			t.Error(err)
		}
	})
	return blobs
}

// recorder remembers the data key that it unwrapped last.
type recorder struct {
	storage.KeyWrapper

	mu      sync.Mutex
	dataKey []byte
}

func (r *recorder) Unwrap(ctx context.Context, wrapped string, keyContext []byte) ([]byte, error) {
	dataKey, err := r.KeyWrapper.Unwrap(ctx, wrapped, keyContext)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dataKey = bytes.Clone(dataKey)
	return dataKey, err
}

// meter counts what is asked of a backend's bodies and headers.
type meter struct {
	backend.Blobs
	gets, bytes atomic.Int64
}

func (m *meter) Get(ctx context.Context, name string, rng backend.Range, version backend.Version) (*backend.Object, error) {
	obj, err := m.Blobs.Get(ctx, name, rng, version)
	if err == nil {
		// All that was asked for counts, be it read or not: a server on the
		// other end of a network would have sent it.
		_, n := rng.Clamp(obj.Size)
		m.gets.Add(1)
		m.bytes.Add(n + int64(len(obj.Header)))
	}
	return obj, err
}

func (m *meter) reset() { m.gets.Store(0); m.bytes.Store(0) }
