package s3

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"go.uber.org/goleak"

	"github.com/atrest/atrest/internal/devs3"
)

// servers are shared by all tests, which have buckets of their own.
var servers struct {
	mu      sync.Mutex
	started map[devs3.Kind]*devs3.Server
	dirs    map[devs3.Kind]string
	buckets map[devs3.Kind]string
	caps    map[devs3.Kind]*Capabilities
}

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	for _, s := range servers.started {
		if err := s.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	for _, dir := range servers.dirs {
		os.RemoveAll(dir)
	}
	if err := goroutines(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// goroutines lists those that are left when what removes unfinished uploads has
// had its time.
func goroutines() (err error) {
	for end := time.Now().Add(cleanTimeout + 2*time.Second); time.Now().Before(end); {
		if err = findGoroutines(); err == nil {
			return nil
		}
	}
	return err
}

// findGoroutines knows that goleak panics at the stack of a goroutine that is deeper than
// 100 calls, as those within the SDK's client are.
func findGoroutines() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("looking for goroutines: %.200v", p)
		}
	}()
	return goleak.Find()
}

// server returns the shared server of a kind, and where it keeps its data.
func server(tb testing.TB, kind devs3.Kind) *devs3.Server {
	tb.Helper()
	servers.mu.Lock()
	defer servers.mu.Unlock()
	if s := servers.started[kind]; s != nil {
		return s
	}
	if servers.started == nil {
		servers.started, servers.dirs = map[devs3.Kind]*devs3.Server{}, map[devs3.Kind]string{}
		servers.buckets, servers.caps = map[devs3.Kind]string{}, map[devs3.Kind]*Capabilities{}
	}
	dir, err := os.MkdirTemp("", "atrest-s3-test-")
	if err != nil {
		tb.Fatal(err)
	}
	servers.dirs[kind] = dir
	s, err := devs3.Start(context.Background(), devs3.Options{Kind: kind, Dir: dir})
	if errors.Is(err, devs3.ErrNoBinary) {
		tb.Fatalf("%v\nThe tests run against real S3 servers: run `make tools` once to build them.", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	if servers.buckets[kind], err = s.NewBucket(context.Background()); err != nil {
		tb.Fatal(err)
	}
	servers.started[kind] = s
	return s
}

// eachServer runs a test on each kind of server, at the same time as other tests.
func eachServer(t *testing.T, f func(t *testing.T, s *devs3.Server)) {
	t.Helper()
	t.Parallel()
	eachServerAlone(t, func(t *testing.T, s *devs3.Server) {
		t.Parallel()
		f(t, s)
	})
}

// eachServerAlone runs a test on each kind of server and nothing else meanwhile,
// for tests that measure the heap or set the environment.
func eachServerAlone(t *testing.T, f func(t *testing.T, s *devs3.Server)) {
	t.Helper()
	for _, kind := range devs3.Kinds() {
		t.Run(string(kind), func(t *testing.T) { f(t, server(t, kind)) })
	}
}

// config returns a Config for a prefix of its own in the one bucket of a shared
// server.
func config(tb testing.TB, s *devs3.Server) Config {
	tb.Helper()
	servers.mu.Lock()
	defer servers.mu.Unlock()
	return Config{Client: client(tb, s.Client()), Bucket: servers.buckets[s.Kind()], Prefix: devs3.NewPrefix()}
}

// client returns the client with connections of its own, which end with the
// test, and with retries, as users have them: VersityGW answers 500 to uploads
// that begin when another of the same key ends.
func client(tb testing.TB, c *awss3.Client) *awss3.Client {
	// Requests may outlive their test for a moment; see exclusively.
	transport := &http.Transport{MaxIdleConnsPerHost: 100, IdleConnTimeout: 100 * time.Millisecond}
	tb.Cleanup(transport.CloseIdleConnections)
	return awss3.New(c.Options(), func(o *awss3.Options) {
		o.HTTPClient = &http.Client{Transport: transport}
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = 200 * time.Millisecond })
	})
}

// probed returns a Store that knows what the server can do, as a test before it has
// found out: that takes some twenty requests.
func probed(tb testing.TB, srv *devs3.Server, cfg Config) *Store {
	tb.Helper()
	s := newStore(tb, cfg)
	servers.mu.Lock()
	defer servers.mu.Unlock()
	s.caps = servers.caps[srv.Kind()]
	if s.caps == nil {
		caps, err := s.Capabilities(tb.Context())
		if err != nil {
			tb.Fatal(err)
		}
		servers.caps[srv.Kind()] = &caps
	}
	return s
}

func newStore(tb testing.TB, cfg Config) *Store {
	tb.Helper()
	s, err := New(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}
