package s3

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/backendtest"
	"github.com/atrest/atrest/internal/devs3"
)

// small has the smallest parts that S3 allows, and few in memory, so that bodies
// of the suite's sizes are uploads of several parts.
func small(cfg Config) Config {
	cfg.PartSize, cfg.Concurrency = minPart, 1
	cfg.copyLimit = 2 * minPart
	return cfg
}

// TestConformanceSoleWriter runs the whole suite with conditions decided in the
// Store, on the server that decides none.
func TestConformanceSoleWriter(t *testing.T) {
	srv := server(t, devs3.Kinds()[0])
	backendtest.Run(t, backendtest.Config{
		Open: func(t *testing.T) backend.Blobs {
			cfg := small(config(t, srv))
			cfg.SoleWriter = true
			return newStore(t, cfg)
		},
		Residue:            residue,
		ListWithoutHeaders: true,
		HeapLimit:          heapLimit,
		Slow:               true,
		ModelRuns:          10,
	})
	wantNoMinIOUploads(t, srv)
}

// heapLimit is for two parts of 5 MiB, being put or fetched, and what the client
// and the test need. TestMemory has the defaults, and a body that is far longer.
const heapLimit = 18 << 20

// residue lists what is under the prefix of a store and no object. What is left
// when a context has ended is removed in the background, for some seconds.
func residue(t *testing.T, b backend.Blobs) []string {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if left := residueNow(t, b); len(left) == 0 || time.Now().After(end) {
			return left
		}
	}
}

func residueNow(t *testing.T, b backend.Blobs) []string {
	t.Helper()
	s := storeOf(b)
	ctx := context.Background() // the test's own has ended
	out, err := s.client.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, Prefix: &s.cfg.Prefix})
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, o := range out.Contents {
		if _, _, ok := s.parseKey(*o.Key); !ok {
			left = append(left, *o.Key)
		}
	}
	return append(left, uploads(t, s)...)
}

func storeOf(b backend.Blobs) *Store {
	switch b := b.(type) {
	case *Store:
		return b
	case interface{ store() *Store }:
		return b.store()
	}
	panic("no Store")
}

// uploads lists the unfinished uploads under the prefix of a store. MinIO does
// not list them.
func uploads(t *testing.T, s *Store) []string {
	t.Helper()
	out, err := s.client.ListMultipartUploads(context.Background(), &awss3.ListMultipartUploadsInput{Bucket: &s.cfg.Bucket, Prefix: &s.cfg.Prefix})
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, u := range out.Uploads {
		left = append(left, "upload of "+aws.ToString(u.Key))
	}
	return left
}

// wantNoMinIOUploads looks into the directory where the shared MinIO keeps the
// unfinished uploads of all buckets. No test may be running any more.
func wantNoMinIOUploads(t *testing.T, srv *devs3.Server) {
	t.Helper()
	if srv.Kind() != devs3.MinIO {
		return
	}
	servers.mu.Lock()
	defer servers.mu.Unlock()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left, err := filepath.Glob(filepath.Join(servers.dirs[devs3.MinIO], "objects", ".minio.sys", "multipart", "*", "*"))
		if err == nil && len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%d unfinished uploads are left behind, such as %q; error %v", len(left), left[:min(1, len(left))], err)
			return
		}
	}
}

// TestConformanceServer runs the whole suite with conditions decided by the
// server, where it honours any. Deletions alone are kept from running at the same
// time as other changes, and their conditions are decided here: VersityGW does
// that without a lock.
func TestConformanceServer(t *testing.T) {
	srv := server(t, conditional(t))
	backendtest.Run(t, backendtest.Config{
		Open: func(t *testing.T) backend.Blobs {
			return &politeDeleter{Store: newStore(t, small(config(t, srv))), deleting: new(sync.RWMutex)}
		},
		Reopen: func(t *testing.T, b backend.Blobs) backend.Blobs {
			p := b.(*politeDeleter)
			cfg := p.cfg
			cfg.Client = client(t, srv.Client())
			return &politeDeleter{Store: newStore(t, cfg), deleting: p.deleting}
		},
		Residue:            residue,
		ListWithoutHeaders: true,
		HeapLimit:          heapLimit,
		NoHeaderCompare:    true,
		Slow:               true,
		ModelRuns:          10,
	})
}

// conditional is the kind of server that honours conditions.
func conditional(t *testing.T) devs3.Kind {
	if kinds := devs3.Kinds(); !slices.Contains(kinds, devs3.VersityGW) {
		return kinds[0]
	}
	return devs3.VersityGW
}

// A politeDeleter waits with a deletion until no other change is under way.
type politeDeleter struct {
	*Store
	deleting *sync.RWMutex // of all handles on one store
}

func (p *politeDeleter) store() *Store { return p.Store }

func (p *politeDeleter) Put(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
	p.deleting.RLock()
	defer p.deleting.RUnlock()
	return p.Store.Put(ctx, name, header, body, cond)
}

func (p *politeDeleter) SetHeader(ctx context.Context, update backend.HeaderUpdate) error {
	p.deleting.RLock()
	defer p.deleting.RUnlock()
	return p.Store.SetHeader(ctx, update)
}

func (p *politeDeleter) Copy(ctx context.Context, dst, src string, srcVersion backend.Version, header []byte, cond backend.Condition) (backend.Version, error) {
	p.deleting.RLock()
	defer p.deleting.RUnlock()
	return p.Store.Copy(ctx, dst, src, srcVersion, header, cond)
}

func (p *politeDeleter) Delete(ctx context.Context, name string, cond backend.Condition) error {
	p.deleting.Lock()
	defer p.deleting.Unlock()
	err := p.Store.Delete(ctx, name, cond)
	if cond.IfVersion == "" || !errors.Is(err, atrest.ErrUnsupported) || cond.IfAbsent {
		return err
	}
	o, err := p.Get(ctx, name, backend.Range{}, cond.IfVersion)
	if errors.Is(err, atrest.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	o.Body.Close()
	return p.Store.Delete(ctx, name, backend.Condition{})
}

// TestConformanceBare runs the suite on a server that honours no conditions, as
// far as it goes without. What then is refused is done by a second Store, which
// may assume that nobody else writes.
func TestConformanceBare(t *testing.T) {
	srv := server(t, unconditional(t))
	backendtest.Run(t, backendtest.Config{
		Open: func(t *testing.T) backend.Blobs {
			cfg := small(config(t, srv))
			sole := cfg
			sole.SoleWriter = true
			return &bare{Store: newStore(t, cfg), sole: newStore(t, sole), t: t}
		},
		Residue:            residue,
		NoConditions:       true,
		HeapLimit:          heapLimit,
		ListWithoutHeaders: true,
		Slow:               true,
		ModelRuns:          10,
	})
	wantNoMinIOUploads(t, srv)
}

func unconditional(t *testing.T) devs3.Kind {
	if kinds := devs3.Kinds(); !slices.Contains(kinds, devs3.MinIO) {
		t.Skipf("the external server is tested by TestConformanceServer")
	}
	return devs3.MinIO
}

type bare struct {
	*Store
	sole *Store
	t    *testing.T
}

func (b *bare) store() *Store { return b.Store }

func (b *bare) SetHeader(ctx context.Context, update backend.HeaderUpdate) error {
	err := b.Store.SetHeader(ctx, update)
	if !errors.Is(err, atrest.ErrUnsupported) {
		if err == nil {
			b.t.Errorf("SetHeader of %.40q succeeded on a server that can't decide it", update.Name)
		}
		return err
	}
	return b.sole.SetHeader(ctx, update)
}

func (b *bare) Copy(ctx context.Context, dst, src string, srcVersion backend.Version, header []byte, cond backend.Condition) (backend.Version, error) {
	v, err := b.Store.Copy(ctx, dst, src, srcVersion, header, cond)
	if dst == src && cond == (backend.Condition{}) && errors.Is(err, atrest.ErrUnsupported) {
		return b.sole.Copy(ctx, dst, src, srcVersion, header, cond)
	}
	return v, err
}
