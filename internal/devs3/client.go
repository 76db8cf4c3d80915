package devs3

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// defaultRegion is the region of both servers unless told otherwise.
const defaultRegion = "us-east-1"

// randomCredentials makes the credentials of a server's only user. MinIO wants
// secrets of at least eight characters.
func randomCredentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: rand.Text(), SecretAccessKey: rand.Text()}
}

// newTransport carries the requests of all clients of a server. It has no
// proxy, whatever the environment says: one could not reach our loopback.
func newTransport() *http.Transport {
	return &http.Transport{
		MaxIdleConnsPerHost: 100, // tests call concurrently
		// Shorter than any server's, which could else close a connection
		// just when we use it again.
		IdleConnTimeout: 5 * time.Second,
	}
}

// Client returns a new client that may do everything. Nothing in the
// environment changes where it connects or as whom. It never retries: a test
// sees each failure as it is, and at once. Who wants retries makes a client of
// this one's Options. Its connections close with [Server.Stop].
func (s *Server) Client() *s3.Client { return s.ClientAt(s.endpoint) }

// ClientAt is [Server.Client] for a server that is reached by another URL, such
// as that of a proxy in front of it.
func (s *Server) ClientAt(endpoint string) *s3.Client { return s.clientAt(endpoint) }

func (s *Server) clientAt(endpoint string, options ...func(*s3.Options)) *s3.Client {
	c := s.credentials
	return s3.New(s3.Options{
		BaseEndpoint: &endpoint,
		UsePathStyle: true, // no name service knows a bucket's name as a host
		Region:       s.region,
		Credentials:  credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
		HTTPClient:   &http.Client{Transport: s.transport},
		Retryer:      aws.NopRetryer{},
	}, options...)
}

// ReadOnlyClient returns a client that may get and list the objects of a bucket
// and nothing else: writes are refused with AccessDenied, status 403. It gives
// the bucket a policy that lets everyone read, and makes a client without
// credentials. A server that forbids such policies refuses that here.
func (s *Server) ReadOnlyClient(ctx context.Context, bucket string) (*s3.Client, error) {
	policy := fmt.Sprintf(`{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::%s/*"]},
    {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::%s"]}
  ]
}`, bucket, bucket)
	_, err := s.Client().PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &policy})
	if err != nil {
		return nil, fmt.Errorf("devs3: letting everyone read %s: %w", bucket, err)
	}
	return s.clientAt(s.endpoint, func(o *s3.Options) { o.Credentials = aws.AnonymousCredentials{} }), nil
}
