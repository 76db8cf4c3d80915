package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/atrest/atrest"
)

const (
	// maxParts is how many parts S3 allows.
	maxParts = 10_000

	// cleanTimeout bounds the removal of what a failure leaves, and cleanGrace how
	// long a caller whose context has ended waits for it.
	cleanTimeout = 10 * time.Second
	cleanGrace   = 500 * time.Millisecond
	abortTries   = 6
)

// An upload is one multipart upload.
type upload struct {
	*Store
	key, id string

	mu    sync.Mutex
	parts []types.CompletedPart // by number, from 1
	cut   bool                  // a part's request was broken off

	completing atomic.Bool // a request to complete it was sent
	completed  atomic.Bool
	missing    atomic.Bool // the server did not know it when it was first to be aborted
}

// withUpload begins an upload, calls f, which is to fill and to complete it, and
// aborts it if that was not done. A death in between leaves the upload.
func (s *Store) withUpload(ctx context.Context, key string, meta map[string]string, f func(u *upload) error) (err error) {
	in := &awss3.CreateMultipartUploadInput{
		Bucket: &s.cfg.Bucket, Key: &key, Metadata: meta,
		ServerSideEncryption: s.cfg.ServerSideEncryption, SSEKMSKeyId: s.kmsKey(), BucketKeyEnabled: s.bucketKey(),
	}
	u, err := s.beginUpload(ctx, in)
	if err != nil {
		return describe(ctx, err)
	}
	// Also if f returns no error, as another change may have done what this one
	// was to do, and if it panics with the caller's body.
	defer func() {
		if u.completed.Load() {
			return
		}
		if abortErr := cleanUp(ctx, u.abort); err != nil {
			err = errors.Join(u.explain(err), abortErr)
		}
	}()
	return f(u)
}

// beginUpload returns the upload that the server has begun. Should ctx end first, the
// answer is awaited nevertheless, behind the caller's back, for only by the id in it
// can the upload be aborted.
func (s *Store) beginUpload(ctx context.Context, in *awss3.CreateMultipartUploadInput) (*upload, error) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { time.AfterFunc(cleanTimeout, cancel) })
	type begun struct {
		upload *upload
		err    error
	}
	answer, gone, cleaned := make(chan begun), make(chan struct{}), make(chan struct{})
	go func() {
		defer cancel()
		defer close(cleaned)
		u, err := s.askForUpload(longer, in)
		select {
		case answer <- begun{u, err}:
		case <-gone:
			if err == nil {
				_ = u.abort(longer) // which logs what goes wrong; nobody is there to be told
			}
		}
	}()
	select {
	case b := <-answer:
		return b.upload, b.err
	case <-ctx.Done():
	}
	close(gone)
	select {
	case <-cleaned:
	case <-time.After(cleanGrace):
	}
	return nil, ctx.Err()
}

func (s *Store) askForUpload(ctx context.Context, in *awss3.CreateMultipartUploadInput) (*upload, error) {
	out, err := s.client.CreateMultipartUpload(ctx, in, s.guard)
	if err != nil {
		return nil, err
	}
	u := &upload{Store: s, key: aws.ToString(in.Key), id: aws.ToString(out.UploadId)}
	if u.id == "" {
		// Requests that name no upload could be taken for those of the object itself.
		return nil, fmt.Errorf("%w: the server has not said which upload it has begun", atrest.ErrUnavailable)
	}
	return u, nil
}

// explain adds to an error of the connection that the upload is gone, if nobody here
// has ended it. MinIO may close the connection on a part of an upload that somebody
// else has aborted, instead of answering that it does not know it.
func (u *upload) explain(err error) error {
	if u.completing.Load() || !u.missing.Load() || !errors.Is(err, atrest.ErrUnavailable) || !isConnection(err) {
		return err
	}
	return fmt.Errorf("%w; and %s", err, unknownUpload)
}

// cleanUp calls f, which has time of its own, as the end of ctx may be the reason
// why it is needed. A caller whose ctx has ended waits a moment only, which is
// enough if the server answers; f goes on without it.
func cleanUp(ctx context.Context, f func(ctx context.Context) error) error {
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
		defer cancel()
		done <- f(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(cleanGrace):
		return errors.New("what is left on the server is still being removed")
	}
}

// abort removes the upload and its parts.
func (u *upload) abort(ctx context.Context) error {
	in := &awss3.AbortMultipartUploadInput{Bucket: &u.cfg.Bucket, Key: &u.key, UploadId: &u.id}
	var err error
	for tries := 1; tries <= abortTries; tries++ {
		_, err = u.client.AbortMultipartUpload(ctx, in, u.guard)
		err = describe(ctx, err)
		if tries == 1 && errors.Is(err, errNoUpload) {
			u.missing.Store(true)
		}
		// The server may still be at a part whose request was broken off, and the
		// upload may come back with it: look again several times, in some 3 s.
		gone := err == nil || errors.Is(err, errNoUpload) && tries > 1
		if gone && (!u.cut || tries == abortTries) {
			return nil
		}
		if tries < abortTries && pause(ctx, tries) != nil {
			break
		}
	}
	if err == nil || errors.Is(err, errNoUpload) {
		return nil
	}
	u.log.WarnContext(ctx, "s3: an unfinished upload could not be aborted and remains, until Sweep or a lifecycle rule removes it",
		"key", u.key, "upload", u.id, "error", err)
	return fmt.Errorf("an unfinished upload could not be aborted and remains: %v", err)
}

// errRepeated is the outcome of a request that was sent more than once, and the
// last time with success, of which it is not known whose it is.
var errRepeated = errors.New("the request was repeated")

// complete makes the upload the object. It is not the client that tries again:
// VersityGW answers with success while an earlier request for the same is still
// being carried out, and may yet fail.
func (u *upload) complete(ctx context.Context, when precondition) error {
	in := &awss3.CompleteMultipartUploadInput{
		Bucket: &u.cfg.Bucket, Key: &u.key, UploadId: &u.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
		IfMatch:         when.ifMatch, IfNoneMatch: when.ifNoneMatch,
	}
	u.completing.Store(true)
	once := func(o *awss3.Options) { o.Retryer = aws.NopRetryer{} }
	for tries := 1; ; tries++ {
		_, err := u.client.CompleteMultipartUpload(ctx, in, u.guard, once)
		err = when.answer(describe(ctx, err))
		if err == nil {
			u.completed.Store(true)
		}
		if err == nil && tries > 1 {
			return errRepeated
		}
		if tries == 3 || !errors.Is(err, atrest.ErrUnavailable) {
			return err
		}
		if err := pause(ctx, tries); err != nil {
			return err
		}
	}
}

// number returns the number of the next part.
func (u *upload) number() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts = append(u.parts, types.CompletedPart{})
	return len(u.parts)
}

// add notes what the server has said of a part.
func (u *upload) add(number int, p types.CompletedPart) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p.PartNumber = aws.Int32(int32(number))
	u.parts[number-1] = p
}

// noteCut notes that a request was broken off, if ctx has ended.
func (u *upload) noteCut(ctx context.Context) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.cut = u.cut || ctx.Err() != nil
}

// send uploads one part. It may be sent again, so buf must not change meanwhile.
func (u *upload) send(ctx context.Context, number int, buf []byte) error {
	out, err := u.client.UploadPart(ctx, &awss3.UploadPartInput{
		Bucket: &u.cfg.Bucket, Key: &u.key, UploadId: &u.id,
		PartNumber: aws.Int32(int32(number)), Body: bytes.NewReader(buf),
	}, u.guard)
	if err != nil {
		u.noteCut(ctx)
		if err = describe(ctx, err); errors.Is(err, errNoUpload) {
			err = errUploadLost(err)
		}
		return err
	}
	// The ETag alone: the client may add checksums to parts, but the upload was not
	// begun with one, and VersityGW then refuses those as parts that it does not have.
	u.add(number, types.CompletedPart{ETag: out.ETag})
	return nil
}

// putLarge stores a body that goes on after the first part.
func (s *Store) putLarge(ctx context.Context, c change, meta map[string]string, first []byte, body io.Reader) error {
	// A condition that is not met now need not cost an upload. It is decided at the
	// end, by commit.
	if c.meets != nil {
		at, err := s.look(ctx, c.key)
		if err == nil {
			err = c.meets(at)
		}
		if err != nil {
			return err
		}
	}
	return s.withUpload(ctx, c.key, meta, func(u *upload) error {
		if err := u.sendAll(ctx, first, body); err != nil {
			return err
		}
		c.send, c.upload = u.complete, true
		return s.commit(ctx, c)
	})
}
