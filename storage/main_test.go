package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/disk"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/internal/devs3"
	"github.com/atrest/atrest/internal/devvault"
	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
	"go.uber.org/goleak"
)

// vault is the Vault of all tests that do not break theirs.
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
	if err = errors.Join(err, vault.Stop(), stopServers(), goleak.Find()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// newKeys returns a wrapper over a key of the test's own.
func newKeys(t testing.TB, server *devvault.Server) *transit.Wrapper {
	t.Helper()
	client, err := server.Client()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := transit.Open(t.Context(), transit.Config{
		Client: client, Key: fmt.Sprintf("key-%x", rand.Uint64()), CreateKey: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func newStore(t testing.TB, cfg storage.Config) *storage.Store {
	t.Helper()
	if cfg.ID == "" {
		cfg.ID = "test"
	}
	if cfg.Backend == nil {
		cfg.Backend = memory.New()
	}
	if cfg.Keys == nil {
		cfg.Keys = newKeys(t, vault)
	}
	s, err := storage.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// An engine is a kind of backend, and how to get an empty one.
type engine struct {
	name string
	open func(t *testing.T) backend.Blobs
}

// engines are all that tests of several backends run on.
func engines() []engine {
	all := []engine{
		{"memory", func(*testing.T) backend.Blobs { return memory.New() }},
		{"disk", func(t *testing.T) backend.Blobs { return newDisk(t, t.TempDir()) }},
		{"postgres", func(t *testing.T) backend.Blobs { return newPostgres(t) }},
	}
	for _, kind := range devs3.Kinds() {
		all = append(all, engine{string(kind), func(t *testing.T) backend.Blobs { return newS3(t, kind) }})
	}
	return all
}

// onEach runs a test on every backend, side by side.
func onEach(t *testing.T, test func(t *testing.T, blobs backend.Blobs)) {
	for _, e := range engines() {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			test(t, e.open(t))
		})
	}
}

// onEachPair runs a test on every pair of backends, also of one kind.
func onEachPair(t *testing.T, test func(t *testing.T, dst, src backend.Blobs)) {
	for _, src := range engines() {
		for _, dst := range engines() {
			t.Run(src.name+" to "+dst.name, func(t *testing.T) {
				t.Parallel()
				test(t, dst.open(t), src.open(t))
			})
		}
	}
}

// onSomePairs runs a test on pairs in which every backend is once the source and
// once the destination.
func onSomePairs(t *testing.T, test func(t *testing.T, dst, src backend.Blobs)) {
	all := engines()
	for i, src := range all {
		dst := all[(i+1)%len(all)]
		t.Run(src.name+" to "+dst.name, func(t *testing.T) {
			t.Parallel()
			test(t, dst.open(t), src.open(t))
		})
	}
}

func newDisk(t testing.TB, dir string) *disk.Store {
	t.Helper()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := disk.New(t.Context(), disk.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func noise(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}

func mustPut(t testing.TB, s *storage.Store, name string, content []byte) storage.Info {
	t.Helper()
	info, err := s.PutBytes(t.Context(), name, content, nil)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func wantContent(t testing.TB, s *storage.Store, name string, want []byte) {
	t.Helper()
	got, _, err := s.GetBytes(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%q holds %d bytes, not the %d that were put", name, len(got), len(want))
	}
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

// rawGet reads what the backend holds.
func rawGet(t testing.TB, blobs backend.Blobs, name string) (header, body []byte) {
	t.Helper()
	obj, err := blobs.Get(t.Context(), name, backend.All, "")
	if err != nil {
		t.Fatal(err)
	}
	defer obj.Body.Close()
	if body, err = io.ReadAll(obj.Body); err != nil {
		t.Fatal(err)
	}
	return obj.Header, body
}

// rawPut is what somebody does who can write the backend but has no key.
func rawPut(t testing.TB, blobs backend.Blobs, name string, header, body []byte) {
	t.Helper()
	if _, err := blobs.Put(t.Context(), name, header, bytes.NewReader(body), backend.Condition{}); err != nil {
		t.Fatal(err)
	}
}

func collect[T any](t testing.TB, seq iter.Seq2[T, error]) []T {
	t.Helper()
	var all []T
	for item, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, item)
	}
	return all
}

func isError(err, want error) bool { return errors.Is(err, want) }

func errorText(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}
