package s3

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/devs3"
)

const rounds = 5

// compare runs bare and ours in turns, as the machine's speed changes by the
// minute, and reports the median MiB/s of each and their ratio.
func compare(b *testing.B, mib float64, bare, ours func()) {
	b.Helper()
	var took [2][]float64
	for b.Loop() {
		for range rounds {
			for i, f := range []func(){bare, ours} {
				start := time.Now()
				f()
				took[i] = append(took[i], time.Since(start).Seconds())
			}
		}
	}
	median := func(x []float64) float64 { slices.Sort(x); return x[len(x)/2] }
	m0, m1 := median(took[0]), median(took[1])
	b.ReportMetric(mib/m0, "bare-MiB/s")
	b.ReportMetric(mib/m1, "ours-MiB/s")
	b.ReportMetric(m0/m1, "ratio")
	b.ReportMetric(0, "ns/op")
}

// benchServers runs a benchmark on each kind of server.
func benchServers(b *testing.B, f func(b *testing.B, s *Store)) {
	for _, kind := range devs3.Kinds() {
		b.Run(string(kind), func(b *testing.B) {
			f(b, newStore(b, config(b, server(b, kind))))
		})
	}
}

// barePut sends parts of 8 MiB that are in memory already, four at a time.
func barePut(b *testing.B, s *Store, key string, part []byte, parts int) {
	ctx := context.Background()
	created, err := s.client.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: &s.cfg.Bucket, Key: &key})
	if err != nil {
		b.Fatal(err)
	}
	done := make([]types.CompletedPart, parts)
	slots := make(chan struct{}, 4)
	var wg sync.WaitGroup
	for i := range parts {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			n := aws.Int32(int32(i + 1))
			out, err := s.client.UploadPart(ctx, &awss3.UploadPartInput{
				Bucket: &s.cfg.Bucket, Key: &key, UploadId: created.UploadId, PartNumber: n, Body: bytes.NewReader(part),
			})
			if err != nil {
				b.Error(err)
				return
			}
			done[i] = types.CompletedPart{PartNumber: n, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32}
		})
	}
	wg.Wait()
	_, err = s.client.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{
		Bucket: &s.cfg.Bucket, Key: &key, UploadId: created.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
	})
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPutLarge puts 256 MiB.
func BenchmarkPutLarge(b *testing.B) {
	benchServers(b, func(b *testing.B, s *Store) {
		const size = 256 << 20
		part := payload(1, defaultPart)
		compare(b, size>>20, func() {
			barePut(b, s, s.cfg.Prefix+"bare", part, size/defaultPart)
		}, func() {
			if _, err := s.Put(context.Background(), "ours", nil, &repeated{chunk: part, left: size}, backend.Condition{}); err != nil {
				b.Fatal(err)
			}
		})
	})
}

// BenchmarkGetLarge gets 256 MiB, against a single GetObject.
func BenchmarkGetLarge(b *testing.B) {
	benchServers(b, func(b *testing.B, s *Store) {
		const size = 256 << 20
		if _, err := s.Put(context.Background(), "ours", nil, &repeated{chunk: payload(1, 1<<20), left: size}, backend.Condition{}); err != nil {
			b.Fatal(err)
		}
		key, err := s.key("ours")
		if err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, 1<<20)
		drain := func(r io.Reader) {
			n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf)
			if n != size || err != nil {
				b.Fatal(n, err)
			}
		}
		compare(b, size>>20, func() {
			out, err := s.client.GetObject(context.Background(), &awss3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: &key})
			if err != nil {
				b.Fatal(err)
			}
			drain(out.Body)
			out.Body.Close()
		}, func() {
			o, err := s.Get(context.Background(), "ours", backend.All, "")
			if err != nil {
				b.Fatal(err)
			}
			drain(o.Body)
			o.Body.Close()
		})
	})
}

// BenchmarkSmall puts and gets 1 KiB and 64 KiB, one after the other.
func BenchmarkSmall(b *testing.B) {
	benchServers(b, func(b *testing.B, s *Store) {
		for _, size := range []int{1 << 10, 64 << 10} {
			body := payload(1, size)
			const n = 100
			b.Run(fmt.Sprintf("put%dKiB", size>>10), func(b *testing.B) {
				compare(b, n*float64(size)/(1<<20), func() {
					for range n {
						in := &awss3.PutObjectInput{Bucket: &s.cfg.Bucket, Key: aws.String(s.cfg.Prefix + "bare"), Body: bytes.NewReader(body)}
						if _, err := s.client.PutObject(context.Background(), in); err != nil {
							b.Fatal(err)
						}
					}
				}, func() {
					for range n {
						if _, err := s.Put(context.Background(), "ours", nil, bytes.NewReader(body), backend.Condition{}); err != nil {
							b.Fatal(err)
						}
					}
				})
			})
			b.Run(fmt.Sprintf("get%dKiB", size>>10), func(b *testing.B) {
				key := s.cfg.Prefix + "bare"
				compare(b, n*float64(size)/(1<<20), func() {
					for range n {
						out, err := s.client.GetObject(context.Background(), &awss3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: &key})
						if err != nil {
							b.Fatal(err)
						}
						io.Copy(io.Discard, out.Body)
						out.Body.Close()
					}
				}, func() {
					for range n {
						o, err := s.Get(context.Background(), "ours", backend.All, "")
						if err != nil {
							b.Fatal(err)
						}
						io.Copy(io.Discard, o.Body)
						o.Body.Close()
					}
				})
			})
		}
	})
}
