package devs3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// The environment variables that name an external server.
const (
	endpointVariable = "ATREST_TEST_S3_ENDPOINT"
	bucketVariable   = "ATREST_TEST_S3_BUCKET"
)

// startExternal makes the Server that stands for the one in the environment, and
// checks that it is there.
func startExternal(ctx context.Context) (*Server, error) {
	s := &Server{
		kind:      External,
		endpoint:  os.Getenv(endpointVariable),
		region:    cmp.Or(os.Getenv("AWS_REGION"), defaultRegion),
		bucket:    os.Getenv(bucketVariable),
		transport: newTransport(),
		credentials: aws.Credentials{
			AccessKeyID:     os.Getenv("AWS_ACCESS_KEY_ID"),
			SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
			SessionToken:    os.Getenv("AWS_SESSION_TOKEN"),
		},
	}
	if s.endpoint == "" {
		return nil, fmt.Errorf("no external server: set %s", endpointVariable)
	}
	if s.credentials.AccessKeyID == "" || s.credentials.SecretAccessKey == "" {
		return nil, fmt.Errorf("no credentials for %s: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", s.endpoint)
	}
	if err := s.check(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("external server %s: %w", s.endpoint, err), s.Stop())
	}
	return s, nil
}

// check sends a request that the credentials must allow: those for one bucket
// need not allow more than that bucket.
func (s *Server) check(ctx context.Context) error {
	if s.bucket == "" {
		return listBuckets(ctx, s.Client())
	}
	_, err := s.Client().HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.bucket})
	return err
}

// location is what a request for a new bucket says about its place. AWS wants it
// in every region but the first, and there refuses it.
func (s *Server) location() *types.CreateBucketConfiguration {
	if s.region == defaultRegion {
		return nil
	}
	return &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(s.region)}
}
