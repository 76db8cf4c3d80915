package s3

import "github.com/aws/aws-sdk-go-v2/aws"

// kmsKey and bucketKey are nil where the Config is silent, so that the bucket's
// own settings hold.

func (s *Store) kmsKey() *string {
	if s.cfg.SSEKMSKeyID == "" {
		return nil
	}
	return &s.cfg.SSEKMSKeyID
}

func (s *Store) bucketKey() *bool {
	if !s.cfg.BucketKeyEnabled {
		return nil
	}
	return aws.Bool(true)
}
