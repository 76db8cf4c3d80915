package s3

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
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
			return probed(t, srv, cfg)
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
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left := minioUploads(t, "*")
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%d unfinished uploads are left behind, such as %q", len(left), left[0])
			return
		}
	}
}

// uploadsOf lists the unfinished uploads of one name, which MinIO keeps in a
// directory that is called after the hash of bucket and key.
func uploadsOf(t *testing.T, srv *devs3.Server, s *Store, name string) []string {
	t.Helper()
	if srv.Kind() != devs3.MinIO {
		return uploads(t, s)
	}
	key, err := s.key(name)
	if err != nil {
		t.Fatal(err)
	}
	return minioUploads(t, fmt.Sprintf("%x", sha256.Sum256([]byte(s.cfg.Bucket+"/"+key))))
}

func minioUploads(t *testing.T, directory string) []string {
	t.Helper()
	servers.mu.Lock()
	defer servers.mu.Unlock()
	left, err := filepath.Glob(filepath.Join(servers.dirs[devs3.MinIO], "objects", ".minio.sys", "multipart", directory, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// TestConformanceServer runs the whole suite with conditions decided by the
// server, where it honours any.
func TestConformanceServer(t *testing.T) {
	srv := server(t, conditional(t))
	caps, err := probed(t, srv, config(t, srv)).Capabilities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	backendtest.Run(t, backendtest.Config{
		Open: func(t *testing.T) backend.Blobs { return probed(t, srv, small(config(t, srv))) },
		Reopen: func(t *testing.T, b backend.Blobs) backend.Blobs {
			cfg := b.(*Store).cfg
			cfg.Client = client(t, srv.Client())
			return newStore(t, cfg)
		},
		Residue:             residue,
		ListWithoutHeaders:  true,
		HeapLimit:           heapLimit,
		NoHeaderCompare:     true,
		NoConditionalDelete: !caps.ConditionalDelete,
		DeleteMayLose:       !caps.ConditionalDelete, // see Capabilities
		Slow:                true,
		ModelRuns:           10,
	})
}

// conditional is the kind of server that honours conditions.
func conditional(t *testing.T) devs3.Kind {
	if kinds := devs3.Kinds(); !slices.Contains(kinds, devs3.VersityGW) {
		return kinds[0]
	}
	return devs3.VersityGW
}

// TestConformanceBare runs the suite on a server that honours no conditions, as
// far as it goes without. What then is refused is done by a second Store, which
// may assume that nobody else writes. Names, bodies and listings are the same with
// it, so the groups about them are left to TestConformanceSoleWriter, on the same
// server.
func TestConformanceBare(t *testing.T) {
	srv := server(t, unconditional(t))
	backendtest.Run(t, backendtest.Config{
		Open: func(t *testing.T) backend.Blobs {
			cfg := small(config(t, srv))
			sole := cfg
			sole.SoleWriter = true
			return &bare{Store: probed(t, srv, cfg), sole: probed(t, srv, sole), t: t}
		},
		Residue:            residue,
		Groups:             []string{"Overwrite", "Cancel", "Conditions", "Copy", "Model", "Hammer"},
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
