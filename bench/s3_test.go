package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"

	"github.com/atrest/atrest/backend/s3"
	"github.com/atrest/atrest/internal/devs3"
)

func s3Engine(b *testing.B, kind devs3.Kind) engine {
	server, err := devs3.Start(b.Context(), devs3.Options{Kind: kind})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := server.Stop(); err != nil {
			b.Error(err)
		}
	})
	bucket, err := server.NewBucket(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	blobs, err := s3.New(b.Context(), s3.Config{Client: server.Client(), Bucket: bucket, Prefix: "ours/"})
	if err != nil {
		b.Fatal(err)
	}
	keys, _, _ := newKeys(b)
	manager := transfermanager.New(server.Client())
	return engine{
		store: newStore(b, blobs, keys),
		put: func(src io.Reader) error {
			_, err := manager.UploadObject(b.Context(), &transfermanager.UploadObjectInput{
				Bucket: aws.String(bucket), Key: aws.String("plain"), Body: src,
			})
			return err
		},
		get: func() error {
			var n discardAt
			err := download(b.Context(), manager, bucket, &n)
			if got := n.Load(); err == nil && got != largeSize {
				err = fmt.Errorf("%d bytes came back", got)
			}
			return err
		},
		getFile: func(f *os.File) error { return download(b.Context(), manager, bucket, f) },
	}
}

// download fetches ranges in parallel. The manager's other way, GetObject, which
// returns a reader, was some twenty times slower on these servers.
func download(ctx context.Context, manager *transfermanager.Client, bucket string, w io.WriterAt) error {
	_, err := manager.DownloadObject(ctx, &transfermanager.DownloadObjectInput{
		Bucket: aws.String(bucket), Key: aws.String("plain"), WriterAt: w,
	})
	return err
}

// discardAt counts what is written to it.
type discardAt struct{ atomic.Int64 }

func (d *discardAt) WriteAt(p []byte, _ int64) (int, error) {
	d.Add(int64(len(p)))
	return len(p), nil
}
