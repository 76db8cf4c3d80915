package backendtest_test

import (
	"bytes"
	"context"
	"io"
	"iter"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/backendtest"
	"github.com/atrest/atrest/backend/memory"
)

// A mutant is a backend with one thing wrong, and the test that must find it.
type mutant struct {
	name  string
	found string                    // path of the test below Run
	run   string                    // if set, the pattern of tests to run instead
	wrong func(*altered)            // what is wrong with the store
	cfg   func(*backendtest.Config) // what is wrong with the Config
}

// An altered store does as the sound one that it contains, except for the
// methods that are set.
type altered struct {
	backend.Blobs
	put        func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error)
	get        func(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error)
	setHeader  func(ctx context.Context, u backend.HeaderUpdate) error
	setHeaders func(ctx context.Context, updates []backend.HeaderUpdate) []error
	putBatch   func(ctx context.Context, puts []backend.SmallPut) ([]backend.Version, []error)
	copy       func(ctx context.Context, dst, src string, v backend.Version, header []byte, cond backend.Condition) (backend.Version, error)
	delete     func(ctx context.Context, name string, cond backend.Condition) error
	list       func(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error]
}

func (a *altered) Put(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
	if a.put != nil {
		return a.put(ctx, name, header, body, cond)
	}
	return a.Blobs.Put(ctx, name, header, body, cond)
}

func (a *altered) Get(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error) {
	if a.get != nil {
		return a.get(ctx, name, rng, v)
	}
	return a.Blobs.Get(ctx, name, rng, v)
}

func (a *altered) SetHeader(ctx context.Context, u backend.HeaderUpdate) error {
	if a.setHeader != nil {
		return a.setHeader(ctx, u)
	}
	return a.Blobs.SetHeader(ctx, u)
}

// SetHeaders sets one by one, so that what is wrong with SetHeader is wrong with
// it too.
func (a *altered) SetHeaders(ctx context.Context, updates []backend.HeaderUpdate) []error {
	if a.setHeaders != nil {
		return a.setHeaders(ctx, updates)
	}
	errs := make([]error, len(updates))
	for i, u := range updates {
		errs[i] = a.SetHeader(ctx, u)
	}
	return errs
}

// PutBatch puts one by one, so that what is wrong with Put is wrong with it too.
func (a *altered) PutBatch(ctx context.Context, puts []backend.SmallPut) ([]backend.Version, []error) {
	if a.putBatch != nil {
		return a.putBatch(ctx, puts)
	}
	return putOneByOne(ctx, a.Put, puts)
}

func (a *altered) Copy(ctx context.Context, dst, src string, v backend.Version, header []byte, cond backend.Condition) (backend.Version, error) {
	if a.copy != nil {
		return a.copy(ctx, dst, src, v, header, cond)
	}
	return a.Blobs.Copy(ctx, dst, src, v, header, cond)
}

func (a *altered) Delete(ctx context.Context, name string, cond backend.Condition) error {
	if a.delete != nil {
		return a.delete(ctx, name, cond)
	}
	return a.Blobs.Delete(ctx, name, cond)
}

func (a *altered) List(ctx context.Context, prefix, after string) iter.Seq2[backend.Entry, error] {
	if a.list != nil {
		return a.list(ctx, prefix, after)
	}
	return a.Blobs.List(ctx, prefix, after)
}

// config is that of a sound memory store, altered by wrong.
func config(wrong func(*altered)) backendtest.Config {
	return backendtest.Config{
		Open: func(*testing.T) backend.Blobs {
			a := &altered{Blobs: memory.New()}
			wrong(a)
			return a
		},
		HeapLimit: 24 << 20,
		Patience:  3 * time.Second,
	}
}

// mutantVariable names the mutant in the environment of a child process.
const mutantVariable = "BACKENDTEST_MUTANT"

// TestMutant is what the child process runs. Without a mutant it has nothing
// to show: package memory runs the suite on the sound store.
func TestMutant(t *testing.T) {
	name := os.Getenv(mutantVariable)
	for _, m := range mutants() {
		if m.name != name {
			continue
		}
		wrong := m.wrong
		if wrong == nil {
			wrong = func(*altered) {}
		}
		cfg := config(wrong)
		if m.cfg != nil {
			m.cfg(&cfg)
		}
		backendtest.Run(t, cfg)
		return
	}
	if name != "" {
		t.Logf("there is no mutant %q", name) // and no failure, which the parent notices
	}
}

// TestSuiteFindsMutants lets the suite loose on each mutant, in a process of
// its own because it must fail there.
func TestSuiteFindsMutants(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			path := m.found
			if m.run != "" {
				path = m.run
			}
			pattern := "^TestMutant$/^" + strings.ReplaceAll(path, "/", "$/^") + "$"
			cmd := exec.CommandContext(t.Context(), exe, "-test.v", "-test.run="+pattern, "-test.timeout=1m",
				"-rapid.nofailfile", "-rapid.shrinktime=1s")
			cmd.Env = append(os.Environ(), mutantVariable+"="+m.name)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("the suite found nothing wrong:\n%s", tail(out))
			}
			failed := "--- FAIL: TestMutant/" + strings.ReplaceAll(m.found, " ", "_")
			if !bytes.Contains(out, []byte(failed)) {
				t.Fatalf("%v, but not by %q:\n%s", err, m.found, tail(out))
			}
			t.Logf("%s", complaint.Find(out))
		})
	}
}

// complaint is what a test says of its failure.
var complaint = regexp.MustCompile(`(?m)^ +[a-z_]+\.go:\d+: .*$`)

// tail is what fits on a screen.
func tail(out []byte) []byte { return out[max(0, len(out)-2000):] }
