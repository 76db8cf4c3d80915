package s3

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// Copy copies an object on the server as [backend.Blobs] says: with one
// CopyObject, or, where that is too long for one or the server does not honour
// conditions on it, by a multipart upload of copied parts. A copy of an object
// onto itself needs a server that honours conditions, or Config.SoleWriter.
func (s *Store) Copy(ctx context.Context, dst, src string, srcVersion backend.Version, header []byte, cond backend.Condition) (v backend.Version, err error) {
	to, err := s.key(dst)
	var from string
	if err == nil {
		from, err = s.key(src)
	}
	if err == nil {
		v, err = s.copy(ctx, to, from, srcVersion, header, cond)
	}
	annotate(&err, "copy to", dst)
	return v, err
}

func (s *Store) copy(ctx context.Context, to, from string, srcVersion backend.Version, header []byte, cond backend.Condition) (backend.Version, error) {
	if err := checkHeader(header); err != nil {
		return "", err
	}
	if err := checkCondition(cond); err != nil {
		return "", err
	}
	src, err := s.newSource(ctx, from, srcVersion, to == from)
	if err != nil {
		return "", err
	}
	version := newVersion()
	c := change{key: to, meets: meets(cond), ifAbsent: cond.IfAbsent, done: isNow(version)}
	if to == from {
		// Else the old body could replace one that has been put meanwhile.
		c.meets, c.before = both(src.isCurrent, c.meets), &src.seen
	}
	if c.meets != nil && !s.cfg.SoleWriter {
		if _, err := s.conditions(ctx, false); err != nil {
			return "", err
		}
	}
	return version, s.commitCopy(ctx, c, src, metadata(version, header))
}

// both returns the check of two conditions. The second may be nil.
func both(a, b func(at seen) error) func(at seen) error {
	return func(at seen) error {
		if err := a(at); err != nil || b == nil {
			return err
		}
		return b(at)
	}
}

// A source is an object that is to be copied, and no other.
type source struct {
	*Store
	key     string
	version backend.Version
	caps    Capabilities

	seen // with an ETag that is not that of a later version, see below
}

// newSource looks at the source, once if it will be looked at again before the
// change, because it is the destination as well.
func (s *Store) newSource(ctx context.Context, key string, version backend.Version, once bool) (*source, error) {
	caps, err := s.Capabilities(ctx)
	if err != nil {
		return nil, err
	}
	if !caps.CopySource {
		return nil, fmt.Errorf("%w: this server does not honour conditions on the source of a copy", atrest.ErrUnsupported)
	}
	src := &source{Store: s, key: key, version: version, caps: caps}
	if once {
		if src.seen, err = s.look(ctx, key); err == nil {
			err = src.isSource()
		}
		return src, err
	}
	return src, src.lookAgain(ctx)
}

// lookAgain returns ErrNotFound or ErrConflict if the source is no more, and
// learns its ETag, which SetHeader may have changed.
func (src *source) lookAgain(ctx context.Context) (err error) {
	if src.seen, err = src.lookTwice(ctx, src.key, src.caps, nil); err != nil {
		return err
	}
	return src.isSource()
}

// isSource returns an error unless what was seen is what is to be copied.
func (src *source) isSource() error {
	if src.version == "" {
		return fmt.Errorf("%w: an empty version is none", atrest.ErrConflict)
	}
	if err := src.isVersion(src.version); err != nil {
		return err
	}
	if src.etag == "" || src.etag == "*" { // see commitMatch
		return errNoETag
	}
	if src.Size > maxParts*src.cfg.copyLimit {
		return fmt.Errorf("%w: the server says that it has %d bytes, more than can be copied", atrest.ErrTooLarge, src.Size)
	}
	return nil
}

// isCurrent is the condition that what is there is the source.
func (src *source) isCurrent(at seen) error {
	if err := at.isVersion(src.version); errors.Is(err, atrest.ErrNotFound) {
		return atrest.ErrConflict
	} else if err != nil {
		return err
	}
	return nil
}

// commitCopy makes the change, with the body of src.
func (s *Store) commitCopy(ctx context.Context, c change, src *source, meta map[string]string) error {
	if src.inOne(c) {
		c.copies = c.meets != nil
		c.send = func(ctx context.Context, when precondition) error {
			return src.copyObject(ctx, c.key, meta, when)
		}
		return s.commit(ctx, c)
	}
	if src.Size == 0 {
		c.send = func(ctx context.Context, when precondition) error { return s.putObject(ctx, c.key, meta, nil, when) }
		return s.commit(ctx, c)
	}
	return s.withUpload(ctx, c.key, meta, func(u *upload) error {
		if err := u.copyAll(ctx, src); err != nil {
			return err
		}
		c.send, c.upload = u.complete, true
		return s.commit(ctx, c)
	})
}

// inOne tells whether CopyObject will do. Where its conditions are not honoured,
// it must not be used for an object onto itself at all. VersityGW and MinIO then
// replace the metadata of whatever is there by the time, so that a body that has
// been put meanwhile gets the header of the old one, and its own, with the data
// key, is lost. VersityGW removes the old metadata before it writes the new.
func (src *source) inOne(c change) bool {
	if src.Size > src.cfg.copyLimit {
		return false
	}
	if src.caps.ConditionalCopy {
		return true
	}
	return c.key != src.key && (c.meets == nil || src.cfg.SoleWriter)
}

// copyObject copies the source, of which it makes sure again if the server says
// that some condition is not met: it does not say which.
func (src *source) copyObject(ctx context.Context, to string, meta map[string]string, when precondition) error {
	for range commitTries {
		etag := src.etag
		in := &awss3.CopyObjectInput{
			Bucket: &src.cfg.Bucket, Key: &to, CopySource: aws.String(src.copySource(src.key)), CopySourceIfMatch: &etag,
			MetadataDirective: types.MetadataDirectiveReplace, Metadata: meta,
			IfMatch: when.ifMatch, IfNoneMatch: when.ifNoneMatch,
			ServerSideEncryption: src.cfg.ServerSideEncryption, SSEKMSKeyId: src.kmsKey(), BucketKeyEnabled: src.bucketKey(),
		}
		err := src.sendCopy(ctx, in, to)
		if !isRefusal(err) {
			return err
		}
		if err := src.lookAgain(ctx); err != nil {
			return err
		}
		if src.etag == etag {
			return errPrecondition // it was the destination's
		}
	}
	return fmt.Errorf("%w: the source does not come to rest", atrest.ErrConflict)
}

// sendCopy sends the request when it does not cross another.
func (src *source) sendCopy(ctx context.Context, in *awss3.CopyObjectInput, to string) error {
	if !src.caps.ConditionalCopy { // as AWS has it, where no copy waits for another
		unlock, err := src.lockCopy(ctx, src.key, to)
		if err != nil {
			return err
		}
		defer unlock()
	}
	_, err := src.client.CopyObject(ctx, in, src.guard)
	return describe(ctx, err)
}

// copyAll makes the upload of parts of the source.
func (u *upload) copyAll(parent context.Context, src *source) error {
	size := copyPart(src.Size, u.cfg.copyLimit)
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var copying sync.WaitGroup
	slots := make(chan struct{}, u.cfg.Concurrency)
	for offset := int64(0); offset < src.Size && ctx.Err() == nil; offset += size {
		slots <- struct{}{}
		number, last := u.number(), min(offset+size, src.Size)-1
		copying.Go(func() {
			defer func() { <-slots }()
			if err := u.copyPart(ctx, src, number, fmt.Sprintf("bytes=%d-%d", offset, last)); err != nil {
				cancel(err)
			}
		})
	}
	copying.Wait()
	switch {
	case parent.Err() != nil:
		return parent.Err()
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return nil
}

// copyPart returns how long the parts of a copy are: of equal length, few, and
// not above the limit of one. The limit is at least twice what S3 allows a part
// to have at least, so they are long enough.
func copyPart(size, limit int64) int64 {
	parts := (size + limit - 1) / limit
	return (size + parts - 1) / parts
}

func (u *upload) copyPart(ctx context.Context, src *source, number int, rng string) error {
	// The range is given even if it is all, since VersityGW would take the length
	// from whatever object was there a moment before.
	out, err := u.client.UploadPartCopy(ctx, &awss3.UploadPartCopyInput{
		Bucket: &u.cfg.Bucket, Key: &u.key, UploadId: &u.id, PartNumber: aws.Int32(int32(number)),
		CopySource: aws.String(u.copySource(src.key)), CopySourceIfMatch: &src.etag, CopySourceRange: &rng,
	}, u.guard)
	if err != nil {
		u.noteCut(ctx)
		return src.explain(ctx, describe(ctx, err))
	}
	result := out.CopyPartResult
	if result == nil {
		return fmt.Errorf("%w: the server has not answered with the ETag of a part", atrest.ErrUnavailable)
	}
	u.add(number, types.CompletedPart{ETag: result.ETag})
	return nil
}

// explain returns err, or why the source could not be copied: that it was
// replaced or deleted meanwhile, to which servers have many answers.
func (src *source) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	at, lookErr := src.look(ctx, src.key)
	if lookErr == nil {
		lookErr = at.isVersion(src.version)
	}
	switch {
	case errors.Is(lookErr, atrest.ErrNotFound), errors.Is(lookErr, atrest.ErrConflict), errors.Is(lookErr, atrest.ErrTampered):
		return lookErr
	case errors.Is(err, errPrecondition):
		return fmt.Errorf("%w: its header was replaced meanwhile", atrest.ErrConflict)
	case errors.Is(err, errNoUpload):
		return errUploadLost(err)
	}
	return err
}
