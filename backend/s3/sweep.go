package s3

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

// Sweep removes what processes that died have left under the prefix: unfinished
// multipart uploads, which cost space and are seen by nobody, and the objects of
// probes. It takes only what was begun more than olderThan ago, by the clocks of
// this machine and the server, so let that be longer than any upload takes, and
// nothing of which the server does not tell when that was. It returns how many things
// it has removed.
//
// MinIO lists an upload only to those who ask for its very key, so that Sweep
// finds none there. It removes old uploads by itself.
func (s *Store) Sweep(ctx context.Context, olderThan time.Duration) (removed int, err error) {
	before := time.Now().Add(-olderThan)
	uploads, err := s.sweepUploads(ctx, before)
	if err == nil {
		removed, err = s.sweepProbes(ctx, before)
	}
	if err != nil {
		err = fmt.Errorf("s3: sweep: %w", err)
	}
	return uploads + removed, err
}

func (s *Store) sweepUploads(ctx context.Context, before time.Time) (removed int, err error) {
	in := &awss3.ListMultipartUploadsInput{Bucket: &s.cfg.Bucket, Prefix: optional(s.cfg.Prefix)}
	for pages := s.newCursor(); ; {
		out, err := s.client.ListMultipartUploads(ctx, in, s.guard)
		if err != nil {
			return removed, describe(ctx, err)
		}
		for _, found := range out.Uploads {
			key := aws.ToString(found.Key)
			if _, _, ours := s.parseKey(key); !ours && !s.isProbe(key) || !isBefore(found.Initiated, before) {
				continue
			}
			u := upload{Store: s, key: key, id: aws.ToString(found.UploadId)}
			if err := u.abort(ctx); err != nil {
				return removed, err
			}
			removed++
		}
		if !aws.ToBool(out.IsTruncated) {
			return removed, nil
		}
		next := aws.ToString(out.NextKeyMarker)
		if next != "" {
			next += "\n" + aws.ToString(out.NextUploadIdMarker)
		}
		if err := pages.advance(next, len(out.Uploads)); err != nil {
			return removed, err
		}
		in.KeyMarker, in.UploadIdMarker = out.NextKeyMarker, out.NextUploadIdMarker
	}
}

// isBefore is false for a time that the server does not tell.
func isBefore(t *time.Time, before time.Time) bool { return t != nil && t.Before(before) }

func (s *Store) sweepProbes(ctx context.Context, before time.Time) (removed int, err error) {
	in := &awss3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, Prefix: aws.String(s.cfg.Prefix + probePrefix)}
	for pages := s.newCursor(); ; {
		page, err := s.client.ListObjectsV2(ctx, in, s.guard)
		if err := checkListing(ctx, page, err); err != nil {
			return removed, err
		}
		for _, o := range page.Contents {
			// The prefix was asked for, but something on the way may drop it.
			if !s.isProbe(aws.ToString(o.Key)) || !isBefore(o.LastModified, before) {
				continue
			}
			if _, err := s.client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: o.Key}, s.guard); err != nil {
				return removed, describe(ctx, err)
			}
			removed++
		}
		if !aws.ToBool(page.IsTruncated) {
			return removed, nil
		}
		if err := pages.advance(aws.ToString(page.NextContinuationToken), len(page.Contents)); err != nil {
			return removed, err
		}
		in.ContinuationToken = page.NextContinuationToken
	}
}
