package s3

import (
	"context"
	"errors"
	"fmt"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// Delete removes the object as [backend.Blobs] says. In a bucket with versioning
// the server keeps it, hidden behind a delete marker, until a rule of the bucket
// removes it.
func (s *Store) Delete(ctx context.Context, name string, cond backend.Condition) error {
	key, err := s.key(name)
	if err == nil {
		err = s.delete(ctx, key, cond)
	}
	annotate(&err, "delete", name)
	return err
}

func (s *Store) delete(ctx context.Context, key string, cond backend.Condition) error {
	if cond.IfAbsent {
		return fmt.Errorf("%w: Delete with IfAbsent", atrest.ErrUnsupported)
	}
	c := change{key: key, done: func(at seen) bool { return !at.exists }}
	c.send = func(ctx context.Context, when precondition) error {
		_, err := s.client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: &key, IfMatch: when.ifMatch}, s.guard)
		return when.answer(describe(ctx, err))
	}
	if cond.IfVersion == "" {
		return s.commit(ctx, c)
	}
	if !s.cfg.SoleWriter {
		if err := s.conditionalDelete(ctx); err != nil {
			return err
		}
	}
	check := meets(cond)
	c.meets = func(at seen) error {
		if !at.exists {
			return errGone
		}
		return check(at)
	}
	err := s.commit(ctx, c)
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

// errGone tells Delete that there is nothing to do.
var errGone = errors.New("it is gone")

// conditionalDelete returns an error unless the server decides conditions on
// deletions.
func (s *Store) conditionalDelete(ctx context.Context) error {
	caps, err := s.Capabilities(ctx)
	if err == nil && !caps.ConditionalDelete {
		err = fmt.Errorf("%w: this server does not decide conditions on deletions atomically: where this process alone writes under the prefix, set Config.SoleWriter",
			atrest.ErrUnsupported)
	}
	return err
}
