package devs3

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

func TestStartStop(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind Kind) {
		var log strings.Builder
		s, err := Start(t.Context(), Options{Kind: kind, Log: &log})
		if err != nil {
			t.Fatal(err)
		}
		if s.Kind() != kind || !strings.HasPrefix(s.Endpoint(), "http://127.0.0.1:") {
			t.Errorf("%s at %q, want %s at a loopback address", s.Kind(), s.Endpoint(), kind)
		}
		bucket := newBucket(t, s)
		mustPut(t, s, bucket, "first")
		checkGet(t, s.Client(), bucket, "first")
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if err := s.Stop(); err != nil {
			t.Errorf("second Stop: %v", err)
		}
		if log.String() == "" {
			t.Error("the log lacks the server's output")
		}
		if strings.Contains(log.String(), s.credentials.SecretAccessKey) {
			t.Error("the log shows the secret key")
		}
		if _, err := os.Stat(s.tempDir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Stop left %s: %v", s.tempDir, err)
		}
		if code := s.process.ExitCode(); code != 0 {
			t.Errorf("server exited with %d, want 0", code)
		}
		if err := s.Kill(); !errors.Is(err, errStopped) {
			t.Errorf("Kill after Stop: %v, want %v", err, errStopped)
		}
	})
}

func TestRestartKeepsData(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind Kind) {
		s := StartForTest(t, kind)
		bucket := newBucket(t, s)
		mustPut(t, s, bucket, "kept")
		client, endpoint := s.Client(), s.Endpoint()
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s.Endpoint() != endpoint {
			t.Errorf("endpoint changed from %s to %s", endpoint, s.Endpoint())
		}
		checkGet(t, client, bucket, "kept")
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := put(t.Context(), client, bucket, "lost"); err == nil {
			t.Error("a killed server took a put")
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		checkGet(t, client, bucket, "kept")
	})
}

func TestPause(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind Kind) {
		s := StartForTest(t, kind)
		bucket := newBucket(t, s)
		mustPut(t, s, bucket, "before")
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, _, err := get(short, s.Client(), bucket); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a paused server answered: %v", err)
		}
		if err := s.Resume(); err != nil {
			t.Fatal(err)
		}
		checkGet(t, s.Client(), bucket, "before")
		// The clean-up stops a server that is paused.
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDirStays(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind Kind) {
		dir := filepath.Join(t.TempDir(), "new", "dir")
		s, err := Start(t.Context(), Options{Kind: kind, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		bucket := newBucket(t, s)
		mustPut(t, s, bucket, "text")
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "objects", bucket, object)); err != nil {
			t.Error(err)
		}
	})
}

// TestWithoutUserAttributes runs VersityGW as on a file system that cannot keep
// metadata in extended attributes.
func TestWithoutUserAttributes(t *testing.T) {
	t.Parallel()
	s, err := newServer(Options{Kind: VersityGW})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	s.program = func(s *Server, address string) (args, env []string) {
		args, env = versitygw(s, address)
		last := len(args) - 1
		return append(args[:last:last], "--sidecar", s.sidecarDir(), args[last]), env
	}
	if err := s.bringUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	bucket := newBucket(t, s)
	mustPut(t, s, bucket, "text")
	checkGet(t, s.Client(), bucket, "text")
	entries, err := os.ReadDir(s.sidecarDir())
	if err != nil || len(entries) == 0 {
		t.Errorf("the sidecar holds %v, %v", entries, err)
	}
}

func TestReadOnlyClient(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind Kind) {
		s := StartForTest(t, kind)
		bucket := newBucket(t, s)
		mustPut(t, s, bucket, "text")
		client, err := s.ReadOnlyClient(t.Context(), bucket)
		if err != nil {
			t.Fatal(err)
		}
		checkGet(t, client, bucket, "text")
		list, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
		if err != nil || len(list.Contents) != 1 {
			t.Errorf("list: %v, %v", list, err)
		}
		key := object
		_, deleteErr := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
		source := bucket + "/" + object
		_, copyErr := client.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: &bucket, Key: &key, CopySource: &source})
		_, multipartErr := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
		for name, err := range map[string]error{
			"put": put(t.Context(), client, bucket, "other"), "delete": deleteErr, "copy": copyErr, "multipart": multipartErr,
		} {
			if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "AccessDenied" {
				t.Errorf("%s: %v, want AccessDenied", name, err)
			}
		}
		checkGet(t, s.Client(), bucket, "text")
	})
}

// TestAccess checks that a server refuses who lacks its credentials.
func TestAccess(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind Kind) {
		s := StartForTest(t, kind)
		stranger := &Server{credentials: randomCredentials(), region: s.region, transport: s.transport}
		if err := listBuckets(t.Context(), stranger.ClientAt(s.Endpoint())); err == nil {
			t.Error("a stranger was served")
		}
	})
}

// TestVersioningIsOff also checks that the servers are of the kinds that they
// are said to be: one honours a condition, the other does not know it.
func TestVersioningIsOff(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind Kind) {
		s := StartForTest(t, kind)
		bucket := newBucket(t, s)
		out, err := s.Client().GetBucketVersioning(t.Context(), &s3.GetBucketVersioningInput{Bucket: &bucket})
		if err != nil || out.Status != "" {
			t.Errorf("versioning: %v, %v, want none", out, err)
		}
		mustPut(t, s, bucket, "text")
		key, star := object, "*"
		_, err = s.Client().PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, IfNoneMatch: &star})
		if refused := err != nil; refused != (kind == VersityGW) {
			t.Errorf("put of an existing object if there is none: %v", err)
		}
	})
}

func TestNoKind(t *testing.T) {
	t.Parallel()
	if s, err := Start(t.Context(), Options{}); err == nil {
		t.Error("started", s.Endpoint(), s.Stop())
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind Kind) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if s, err := Start(ctx, Options{Kind: kind}); !errors.Is(err, context.Canceled) {
			t.Errorf("Start = %v, %v, want %v", s, err, context.Canceled)
		}
	})
}

// TestTakenPort has the server told to listen where somebody else does, at first.
func TestTakenPort(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind Kind) {
		squatter, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer squatter.Close() // nothing was written
		s, err := newServer(Options{Kind: kind})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
		})
		actual, attempts := s.program, 0
		s.program = func(s *Server, address string) (args, env []string) {
			if attempts++; attempts == 1 {
				address = squatter.Addr().String()
			}
			return actual(s, address)
		}
		if err := s.bringUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if attempts != 2 {
			t.Errorf("%d attempts, want 2", attempts)
		}
		newBucket(t, s)
	})
}

func TestRestartWaitsForItsPort(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind Kind) {
		s := StartForTest(t, kind)
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		squatter, err := net.Listen("tcp", strings.TrimPrefix(s.Endpoint(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if err := s.Restart(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Restart on a taken port: %v, want %v", err, context.DeadlineExceeded)
		}
		released := time.AfterFunc(300*time.Millisecond, func() { squatter.Close() })
		defer released.Stop()
		if err := s.Restart(t.Context()); err != nil {
			t.Errorf("Restart after the port was released: %v", err)
		}
	})
}

func TestBadDirectory(t *testing.T) {
	t.Parallel()
	_, err := Start(t.Context(), Options{Kind: MinIO, Dir: "/dev/null/no"})
	if err == nil || !strings.Contains(err.Error(), "data directory") {
		t.Errorf("error = %v, want one about the data directory", err)
	}
}
