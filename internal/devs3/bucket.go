package devs3

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// NewBucket makes an empty bucket and returns its name. With
// ATREST_TEST_S3_BUCKET set, [External] returns that bucket each time: it may
// hold anything, so a test puts its objects under a [NewPrefix], whatever the
// server, and looks at nothing else.
func (s *Server) NewBucket(ctx context.Context) (name string, err error) {
	if s.bucket != "" {
		return s.bucket, nil
	}
	name = "atrest-test-" + strings.ToLower(rand.Text())
	if _, err := s.Client().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name, CreateBucketConfiguration: s.location()}); err != nil {
		return "", fmt.Errorf("devs3: making a bucket: %w", err)
	}
	return name, nil
}

// NewPrefix returns a prefix for keys that nobody else has, such as
// "test-abc.../", for a test that may share its bucket.
func NewPrefix() string { return "test-" + strings.ToLower(rand.Text()) + "/" }
