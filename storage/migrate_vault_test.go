package storage_test

import (
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/internal/devvault"
	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
	"github.com/hashicorp/vault/api"
)

// TestMigrateSealedVault seals each of the Vaults midway. After it is unsealed,
// another run does the rest.
func TestMigrateSealedVault(t *testing.T) {
	servers := map[string]*devvault.Server{"source": secondVault(t), "destination": secondVault(t)}
	to := &scripted{Blobs: memory.New()}
	src := newStore(t, storage.Config{Keys: newKeys(t, servers["source"])})
	dst := newStore(t, storage.Config{Keys: newKeys(t, servers["destination"]), Backend: to})
	contents := make(map[string][]byte)
	for i := range 40 {
		contents[fmt.Sprintf("%02d", i)] = fmt.Append(nil, i)
	}
	putAll(t, src, contents)
	for which, server := range servers {
		puts := 0
		to.put = func(string) error {
			if puts++; puts == 15 {
				return server.Seal(t.Context())
			}
			return nil
		}
		p, err := storage.Migrate(t.Context(), dst, src, &storage.MigrateOptions{Concurrency: 1})
		wantError(t, err, atrest.ErrVaultSealed)
		if p.Failed > 0 || p.Copied < 14 || p.Copied > 16 {
			t.Errorf("%s sealed: %+v", which, p)
		}
		if err := server.Unseal(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	to.put = nil
	p := mustMigrate(t, dst, src, nil)
	if p.Skipped < 28 || p.Copied+p.Skipped != 40 {
		t.Errorf("%+v", p)
	}
	wantAll(t, dst, contents)
}

// counting is a transport that counts requests.
type counting struct {
	*http.Transport
	requests atomic.Int64
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.requests.Add(1)
	return c.Transport.RoundTrip(r)
}

// countedKeys are newKeys whose requests are counted.
func countedKeys(t *testing.T) (*transit.Wrapper, *atomic.Int64) {
	t.Helper()
	c := &counting{Transport: &http.Transport{}}
	t.Cleanup(c.CloseIdleConnections)
	client, err := api.NewClient(&api.Config{Address: vault.Addr(), HttpClient: &http.Client{Transport: c}})
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(vault.RootToken())
	_, key := newKeys(t, vault).Key()
	keys, err := transit.Open(t.Context(), transit.Config{Client: client, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return keys, &c.requests
}

// TestMigrateSharesRequests: keys go to Vault many at a time.
func TestMigrateSharesRequests(t *testing.T) {
	const n = 2000
	srcKeys, srcRequests := countedKeys(t)
	dstKeys, dstRequests := countedKeys(t)
	blobs := memory.New()
	src := newStore(t, storage.Config{ID: "source", Keys: srcKeys, Backend: blobs})
	putMany(t, src, n)
	countRequests(t, "copied", newStore(t, storage.Config{Keys: dstKeys}), src, n, srcRequests, dstRequests)
	countRequests(t, "in place", newStore(t, storage.Config{Keys: dstKeys, Backend: blobs}), src, n, srcRequests, dstRequests)
}

func countRequests(t *testing.T, what string, dst, src *storage.Store, n int64, srcRequests, dstRequests *atomic.Int64) {
	t.Helper()
	srcRequests.Store(0)
	dstRequests.Store(0)
	if p := mustMigrate(t, dst, src, nil); p.Copied != n {
		t.Errorf("%s: %+v", what, p)
	}
	from, to := srcRequests.Load(), dstRequests.Load()
	t.Logf("%s: %d objects, %d requests to the source's Vault, %d to the destination's", what, n, from, to)
	if from == 0 || to == 0 || from > n/5 || to > n/5 {
		t.Errorf("%s: %d and %d requests", what, from, to)
	}
	dstRequests.Store(0)
	if p := mustMigrate(t, dst, src, nil); p.Skipped != n {
		t.Errorf("%s, again: %+v", what, p)
	}
	if again := dstRequests.Load(); again > n/5 {
		t.Errorf("%s, again: %d requests", what, again)
	}
}

// putMany puts small objects, several at a time.
func putMany(t *testing.T, s *storage.Store, n int) {
	t.Helper()
	parallel(64, func(w int) {
		for i := w; i < n; i += 64 {
			if _, err := s.PutBytes(t.Context(), fmt.Sprintf("%04d", i), fmt.Append(nil, i), nil); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestMigrateLargeObjects copies objects that are larger than all memory that
// may be used, several at a time.
func TestMigrateLargeObjects(t *testing.T) {
	const size, limit = 96 << 20, 48 << 20
	src := newStore(t, storage.Config{Backend: newDisk(t, t.TempDir())})
	dst := newStore(t, storage.Config{Backend: newDisk(t, t.TempDir())})
	for i := range 3 {
		if _, err := src.Put(t.Context(), fmt.Sprint(i), &zeros{size}, nil); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	peak := watchHeap(t)
	p, err := storage.Migrate(t.Context(), dst, src, &storage.MigrateOptions{LargeConcurrency: 2, ReadBack: true})
	used := int64(peak()) - int64(before.HeapInuse)
	if err != nil || p.Copied != 3 || p.CopiedBytes < 3*size {
		t.Fatalf("%+v, %v", p, err)
	}
	if used > limit {
		t.Errorf("%d MiB of heap in use", used>>20)
	}
}

// TestMigrateConcurrency: few large objects are under way at a time, and many
// small ones.
func TestMigrateConcurrency(t *testing.T) {
	src := newStore(t, storage.Config{})
	for i := range 12 {
		mustPut(t, src, fmt.Sprintf("%02d large", i), noise(200_000))
		mustPut(t, src, fmt.Sprintf("%02d small", i), noise(20))
	}
	var mu sync.Mutex
	underway, most := make(map[string]int), make(map[string]int)
	count := func(name string, n int) {
		mu.Lock()
		defer mu.Unlock()
		kind := name[3:]
		underway[kind] += n
		most[kind] = max(most[kind], underway[kind])
	}
	to := &scripted{
		Blobs: memory.New(),
		put: func(name string) error {
			count(name, 1)
			time.Sleep(20 * time.Millisecond)
			return nil
		},
		answer: func(name string, v backend.Version, err error) (backend.Version, error) {
			count(name, -1)
			return v, err
		},
	}
	dst := newStore(t, storage.Config{Backend: to})
	mustMigrate(t, dst, src, &storage.MigrateOptions{Concurrency: 16, LargeConcurrency: 2})
	if most["large"] != 2 || most["small"] < 3 || most["small"]+most["large"] > 16 {
		t.Errorf("under way at a time: %v", most)
	}
}
