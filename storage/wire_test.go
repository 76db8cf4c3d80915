package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/internal/faultproxy"
	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
	"github.com/hashicorp/vault/api"
	"go.uber.org/goleak"
)

// A wireCase is a store that reaches one of its servers through a proxy, which
// makes faults on the wire.
type wireCase struct {
	name string
	// open returns an empty store. What it opens it closes by t.Cleanup.
	open func(t *testing.T) *wireRig
	// unavailable is the error for a server that can't be talked to.
	unavailable error
	// spared are the operations that have no use for that server.
	spared []string
	// refused are the operations that the server is not up to.
	refused []string
	// retries tells that what is lost once is tried again, so that nobody notices.
	retries bool
	// inDoubt tells that the server is the one that keeps the objects, so that a
	// change that has failed may have been made.
	inDoubt bool
	// offsets are after how many bytes connections break, beside none at all.
	// Some operation must send, and some receive, more than that.
	offsets []int64
	// piece is how many bytes a slow connection passes each millisecond.
	piece int
	// large is the size of a large object.
	large int
}

// A wireRig is a store under test.
type wireRig struct {
	proxy  *faultproxy.Proxy
	store  *storage.Store   // through the proxy
	direct *storage.Store   // of the same objects, past the proxy
	keys   *transit.Wrapper // likewise
	// hangUp closes the idle connections that the store has through the proxy. It
	// can make new ones.
	hangUp func()
	// residue lists what the backend holds that is no live object, such as
	// temporary files and unfinished uploads.
	residue func(t *testing.T) []string
	// lingers tells that the client takes its time to end a connection that does
	// not answer, so that the network has to end it. residue must tell then
	// whether one is still in use.
	lingers bool
	// sweep, if not nil, removes what can't be removed while the fault lasts, as an
	// operator would.
	sweep func(t *testing.T)
}

func wireCases() []wireCase {
	vaultCase := wireCase{
		unavailable: atrest.ErrVaultUnavailable,
		spared:      []string{"list"},
		retries:     true,
		piece:       50,
		large:       3 << 19, // several segments, and a file of its own on disk
	}
	onMemory, onDisk := vaultCase, vaultCase
	onMemory.offsets = []int64{100} // in the midst of HTTP's header
	onMemory.name, onMemory.open = "vault, memory", func(t *testing.T) *wireRig {
		return newWireVault(t, memory.New(), func(*testing.T) []string { return nil })
	}
	onDisk.offsets = []int64{300} // in the midst of HTTP's body
	onDisk.name, onDisk.open = "vault, disk", func(t *testing.T) *wireRig {
		dir := t.TempDir()
		blobs := newDisk(t, dir)
		return newWireVault(t, blobs, func(t *testing.T) []string { return wireDiskResidue(t, dir, blobs) })
	}
	return append(wireServerCases(), onMemory, onDisk)
}

// newWireVault has Vault behind the proxy, and a backend that is sound.
func newWireVault(t *testing.T, blobs backend.Blobs, residue func(t *testing.T) []string) *wireRig {
	t.Helper()
	proxy := faultproxy.New(t, strings.TrimPrefix(vault.Addr(), "http://"))
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := api.NewClient(&api.Config{Address: "http://" + proxy.Addr(), HttpClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(vault.RootToken())
	direct := newKeys(t, vault)
	_, key := direct.Key()
	// Two tries, as four would take most of the test's time in waiting.
	keys, err := transit.Open(t.Context(), transit.Config{Client: client, Key: key, MaxTries: 2})
	if err != nil {
		t.Fatal(err)
	}
	return &wireRig{
		proxy:   proxy,
		store:   newStore(t, storage.Config{Backend: blobs, Keys: keys}),
		direct:  newStore(t, storage.Config{Backend: blobs, Keys: direct}),
		keys:    direct,
		hangUp:  transport.CloseIdleConnections,
		residue: residue,
	}
}

// wireDiskResidue lists files in the making, and all bodies if there are not
// exactly those of the large objects.
func wireDiskResidue(t *testing.T, dir string, blobs backend.Blobs) (left []string) {
	t.Helper()
	var bodies []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		switch top, below, _ := strings.Cut(filepath.ToSlash(name), "/"); {
		case top == "work" && strings.Contains(below, "/"):
			left = append(left, name)
		case top == "bodies":
			bodies = append(bodies, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	large := 0
	for _, entry := range collect(t, blobs.List(t.Context(), "", "")) {
		if entry.Size > 1<<20 { // above that, no body is part of a header file
			large++
		}
	}
	if len(bodies) != large {
		left = append(left, bodies...)
	}
	return left
}

// A wireFault is a fault and what has to come of it.
type wireFault struct {
	faultproxy.Fault
	outcome wireOutcome
	// anew tells that it takes new connections to see the fault.
	anew bool
}

type wireOutcome int

const (
	wireEither wireOutcome = iota // success, or a typed error in time
	wirePasses                    // every operation succeeds
	wireFails                     // every operation that needs the server fails
)

// faults are all that a proxy can do, in both directions.
func (c wireCase) faults() []wireFault {
	recovers := wireEither
	if c.retries {
		recovers = wirePasses
	}
	faults := []wireFault{
		{faultproxy.Refuse(), wireFails, true},
		{faultproxy.Once(faultproxy.Refuse()), recovers, true},
	}
	for _, d := range []faultproxy.Direction{faultproxy.Up, faultproxy.Down} {
		faults = append(faults,
			wireFault{faultproxy.Latency(d, 5*time.Millisecond), wirePasses, false},
			wireFault{faultproxy.Drip(d, c.piece, time.Millisecond), wirePasses, false},
			wireFault{faultproxy.Drip(d, 1, time.Second), wireFails, false},
		)
		for _, breaks := range []func(faultproxy.Direction, int64) faultproxy.Fault{
			faultproxy.Reset, faultproxy.Cut, faultproxy.HalfClose, faultproxy.Blackhole,
		} {
			faults = append(faults, wireFault{breaks(d, 0), wireFails, false})
			for _, offset := range c.offsets {
				faults = append(faults, wireFault{breaks(d, offset), wireEither, false})
			}
		}
		for _, breaks := range []func(faultproxy.Direction, int64) faultproxy.Fault{
			faultproxy.Reset, faultproxy.Cut, faultproxy.HalfClose,
		} {
			faults = append(faults, wireFault{faultproxy.Once(breaks(d, 0)), recovers, false})
		}
	}
	return faults
}

// deadline is what the operations are given. One that succeeds needs little of
// it, one that comes upon the fault in its midst must get there, and one that hangs
// needs all.
func (f wireFault) deadline() time.Duration {
	switch f.outcome {
	case wirePasses:
		return 30 * time.Second
	case wireEither:
		return 8 * time.Second
	default:
		return 2 * time.Second
	}
}

// A wireChange is what a name holds when an operation has succeeded; nil for
// nothing.
type wireChange struct {
	name    string
	content []byte
}

// A wireOp is an operation. Each has names of its own, since all of a case are
// under way at the same time, as they are in a server.
type wireOp struct {
	name    string
	run     func(ctx context.Context, s *storage.Store) error
	changes []wireChange // in the order in which they are made
}

func wirePut(name, object string, content []byte) wireOp {
	return wireOp{name, func(ctx context.Context, s *storage.Store) error {
		_, err := s.PutBytes(ctx, object, content, nil)
		return err
	}, []wireChange{{object, content}}}
}

func wireGet(name, object string, want []byte) wireOp {
	return wireOp{name, func(ctx context.Context, s *storage.Store) error {
		got, _, err := s.GetBytes(ctx, object)
		if err == nil && !bytes.Equal(got, want) {
			return fmt.Errorf("got %d bytes that were never put", len(got))
		}
		return err
	}, nil}
}

// wireOps returns the operations, and the objects that they find.
func wireOps(large int) (ops []wireOp, objects map[string][]byte) {
	small, big := []byte("a small secret"), noise(large)
	objects = map[string][]byte{
		"old/small": small, "old/large": big, "over": small, "over large": big,
		"source": big, "from": big, "rewrap/1": small, "rewrap/2": big,
	}
	return []wireOp{
		wirePut("put small", "new", []byte("another")),
		wirePut("put large", "new large", big[1:]),
		wirePut("overwrite small", "over", big[2:]),
		wirePut("overwrite large", "over large", []byte("another")),
		wireGet("get small", "old/small", small),
		wireGet("get large", "old/large", big),
		{"stat", func(ctx context.Context, s *storage.Store) error { _, err := s.Stat(ctx, "old/small"); return err }, nil},
		{"copy", func(ctx context.Context, s *storage.Store) error {
			_, err := s.Copy(ctx, "copy", "source", nil)
			return err
		}, []wireChange{{"copy", big}}},
		{"rename", func(ctx context.Context, s *storage.Store) error {
			_, err := s.Rename(ctx, "to", "from", nil)
			return err
		}, []wireChange{{"to", big}, {"from", nil}}},
		{"rewrap", func(ctx context.Context, s *storage.Store) error {
			_, err := s.Rewrap(ctx, &storage.RewrapOptions{Prefix: "rewrap/"})
			return err
		}, nil},
		{"verify", func(ctx context.Context, s *storage.Store) (last error) {
			for _, last = range s.Verify(ctx, &storage.VerifyOptions{Prefix: "old/"}) {
			}
			return last
		}, nil},
		{"list", func(ctx context.Context, s *storage.Store) (last error) {
			for _, last = range s.List(ctx, &storage.ListOptions{Prefix: "old/"}) {
			}
			return last
		}, nil},
	}, objects
}

// wireAtOnce is how many faults are made at the same time, each on a store and a
// proxy of its own, since most of them take nothing but time.
const wireAtOnce = 10

// TestWireFaults makes each fault under each operation. Whatever the wire does,
// an operation ends in time, in success or with an error that says what is
// wrong; every object is what it was or what it was to become; and nothing is
// left behind, neither here nor in the backend.
func TestWireFaults(t *testing.T) {
	for _, c := range wireCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Run("none", func(t *testing.T) { c.test(t, wireFault{faultproxy.Fault{}, wirePasses, false}) })
			for faults := range slices.Chunk(c.faults(), wireAtOnce) {
				before := goleak.IgnoreCurrent()
				t.Run("", func(t *testing.T) {
					for _, f := range faults {
						t.Run(f.String(), func(t *testing.T) {
							t.Parallel()
							c.test(t, f)
						})
					}
				})
				wantNoGoroutine(t, before)
			}
		})
	}
}

func (c wireCase) test(t *testing.T, f wireFault) {
	rig := c.open(t)
	ops, objects := wireOps(c.large)
	for name, content := range objects {
		mustPut(t, rig.direct, name, content)
	}
	if err := rig.keys.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	rig.hangUp()
	rig.wantNoConnection(t)
	// The fault finds a connection that is idle.
	if _, err := rig.store.Stat(t.Context(), "old/small"); err != nil {
		t.Fatal(err)
	}

	rig.proxy.Set(f.Fault)
	if f.anew {
		rig.proxy.CloseAll()
	}
	errs := rig.run(t, ops, f.deadline())
	if rig.proxy.Strikes() == 0 && f.Fault != (faultproxy.Fault{}) {
		t.Error("the fault was not made")
	}
	rig.proxy.Clear()
	if rig.lingers {
		rig.proxy.CloseAll()
	}
	rig.wantNoConnection(t)
	for i, op := range ops {
		c.checkError(t, f, op.name, errs[i])
	}
	c.checkObjects(t, rig, ops, errs, objects)
	if rig.sweep != nil && f.outcome != wirePasses && !strings.HasPrefix(f.String(), "Once") {
		rig.sweep(t)
	}
	rig.wantNoResidue(t)
}

// run has all operations under way at once. Each ends within seconds of its
// deadline, and blames the deadline for nothing that happened before.
func (r *wireRig) run(t *testing.T, ops []wireOp, deadline time.Duration) []error {
	t.Helper()
	errs := make([]error, len(ops))
	var all sync.WaitGroup
	for i, op := range ops {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			began := time.Now()
			errs[i] = op.run(ctx, r.store)
			if took := time.Since(began); took > deadline+3*time.Second {
				t.Errorf("%s: took %v, its deadline is %v", op.name, took, deadline)
			}
			if errors.Is(errs[i], context.DeadlineExceeded) && ctx.Err() == nil {
				t.Errorf("%s: long before its deadline: %v", op.name, errs[i])
			}
		})
	}
	all.Wait()
	return errs
}

// wireGrace is how long a client may take to end what it does in the background,
// and a server to notice that a connection has ended.
const wireGrace = 12 * time.Second

// within gives a condition a while to become true.
func within(grace time.Duration, condition func() bool) bool {
	for end := time.Now().Add(grace); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func wantNoGoroutine(t *testing.T, before goleak.Option) {
	t.Helper()
	var err error
	if !within(wireGrace, func() bool { err = findGoroutines(before); return err == nil }) {
		t.Error(err)
	}
}

// findGoroutines leaves out HTTP connections that are idle: those through the
// proxy have been counted, and the others are of a client that all tests share.
func findGoroutines(before goleak.Option) (err error) {
	// goleak panics at the stack of a goroutine that is deeper than 100 calls, as
	// those within the SDK's client are.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("looking for goroutines: %v", p)
		}
	}()
	return goleak.Find(before,
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// wantNoConnection hangs up also those that are made in the background meanwhile.
func (r *wireRig) wantNoConnection(t *testing.T) {
	t.Helper()
	if !within(wireGrace, func() bool { r.hangUp(); return r.proxy.Connections() == 0 }) {
		t.Errorf("%d connections are open", r.proxy.Connections())
	}
}

func (r *wireRig) wantNoResidue(t *testing.T) {
	t.Helper()
	var left []string
	if !within(wireGrace, func() bool { left = r.residue(t); return len(left) == 0 }) {
		t.Errorf("left in the backend: %q", left)
	}
}

func (c wireCase) checkError(t *testing.T, f wireFault, op string, err error) {
	t.Helper()
	spared := slices.Contains(c.spared, op)
	switch {
	case err == nil:
		if f.outcome == wireFails && !spared {
			t.Errorf("%s: succeeded, although it can't have reached the server", op)
		}
	case slices.Contains(c.refused, op) && errors.Is(err, atrest.ErrUnsupported):
	case f.outcome == wirePasses || spared:
		t.Errorf("%s: %v", op, err)
	case !errors.Is(err, c.unavailable) && !errors.Is(err, context.DeadlineExceeded):
		t.Errorf("%s: got %v, want %q or an exceeded deadline", op, err, c.unavailable)
	}
	if err != nil && strings.Contains(err.Error(), vault.RootToken()) {
		t.Errorf("%s: the error shows the token", op)
	}
}

// checkObjects reads everything past the proxy.
func (c wireCase) checkObjects(t *testing.T, rig *wireRig, ops []wireOp, errs []error, objects map[string][]byte) {
	t.Helper()
	found := map[string][]byte{}
	read := func(name string) []byte {
		content, _, err := rig.direct.GetBytes(t.Context(), name)
		if err != nil && !errors.Is(err, atrest.ErrNotFound) {
			t.Errorf("%q: %v", name, err)
		}
		found[name] = content
		return content
	}
	for i, op := range ops {
		done, later := errs[i] == nil, false
		// Backwards: of changes in doubt the last may be made while this reads,
		// but never before the one that precedes it.
		for _, change := range slices.Backward(op.changes) {
			switch now, old := read(change.name), objects[change.name]; {
			case wireSame(now, change.content):
				later = true
				if !done && !c.inDoubt {
					t.Errorf("%s: failed, but %q has changed", op.name, change.name)
				}
			case !wireSame(now, old):
				t.Errorf("%s: %q is gone, or holds what was never put: %d bytes", op.name, change.name, len(now))
			case done || later:
				t.Errorf("%s: %q is what it was, although that was changed", op.name, change.name)
			}
		}
	}
	for name, content := range objects {
		if _, seen := found[name]; !seen && !wireSame(read(name), content) {
			t.Errorf("%q is not what was put", name)
		}
	}
	for info, err := range rig.direct.Verify(t.Context(), nil) {
		if _, known := found[info.Name]; err != nil || !known {
			t.Errorf("the store holds %q, %v", info.Name, err)
		}
	}
}

// wireSame tells nothing from an empty object.
func wireSame(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
