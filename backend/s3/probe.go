package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/atrest/atrest"
)

// Capabilities are the conditions that a server honours on changes.
type Capabilities struct {
	// ConditionalPut tells that If-None-Match and If-Match are honoured when an
	// object is put, in one request or as a multipart upload. Conditions of Put and
	// Copy, and SetHeader, need it.
	ConditionalPut bool

	// CopySource tells that a copy can be made on condition that its source is
	// what it was. Copy and SetHeader need it.
	CopySource bool

	// ConditionalCopy tells that CopyObject honours If-None-Match and If-Match on
	// its destination. Without it, SetHeader and conditional copies take an upload
	// of copied parts.
	ConditionalCopy bool

	// ConditionalDelete tells that DeleteObject honours If-Match, and can be
	// believed. VersityGW honours it, but looks and deletes without a lock, so that
	// an object put in between is lost. No probe can exclude that. It is believed of
	// a server that has ConditionalCopy as well, as AWS documents both.
	ConditionalDelete bool
}

// wrongETag is what no probe has.
const wrongETag = `"00000000000000000000000000000000"`

// Capabilities returns what the server can do. It is found out once for each
// Store, by some fifteen requests that write, copy and remove an object beside
// those of the store. That happens before the first operation that needs to know:
// Copy, SetHeader, and whatever has a condition. An error is not remembered: it
// is ErrPermission where the credentials may not write.
func (s *Store) Capabilities(ctx context.Context) (Capabilities, error) {
	if err := s.probing.lock(ctx); err != nil {
		return Capabilities{}, err
	}
	defer s.probing.unlock()
	if s.caps == nil {
		caps, err := s.probe(ctx)
		if err != nil {
			return Capabilities{}, fmt.Errorf("finding out what the server can do: %w", err)
		}
		s.caps = &caps
	}
	return *s.caps, nil
}

// probe tries each condition where it is not met. A death in between leaves an
// object or an upload that nothing else looks at and [Store.Sweep] removes.
func (s *Store) probe(ctx context.Context) (caps Capabilities, err error) {
	key := s.cfg.Prefix + probePrefix + rand.Text() + suffix
	p := prober{Store: s, key: key, source: s.copySource(key)}
	defer func() {
		removeErr := cleanUp(ctx, func(ctx context.Context) error {
			_, err := s.client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: &key}, s.guard)
			return describe(ctx, err)
		})
		if err == nil {
			err = removeErr
		}
	}()
	if err := s.putObject(ctx, key, nil, []byte("probe"), precondition{}); err != nil {
		return caps, err
	}
	caps.CopySource = p.refuses(ctx, p.copyFromWrong, p.copyPartFromWrong)
	caps.ConditionalCopy = p.refuses(ctx, p.copyIfMatch, p.copyIfAbsent)
	caps.ConditionalPut = p.refuses(ctx, p.putIfMatch, p.putIfAbsent, p.completeIfMatch, p.completeIfAbsent)
	caps.ConditionalDelete = p.refuses(ctx, p.deleteIfMatch) && caps.ConditionalCopy
	return caps, p.err
}

// A prober tries one key. After an error it tries nothing more.
type prober struct {
	*Store
	key, source string
	err         error
}

// refuses tells whether each request is refused because of its condition.
func (p *prober) refuses(ctx context.Context, requests ...func(ctx context.Context) error) bool {
	for _, request := range requests {
		if p.err != nil {
			return false
		}
		err := describe(ctx, request(ctx))
		switch {
		case errors.Is(err, errPrecondition):
			continue
		// The server does not know this header, and says so.
		// Some answers with status 400 say something else, such as ExpiredToken.
		case err != nil && !errors.Is(err, atrest.ErrUnsupported) && (!isBadRequest(err) || classify(err) != nil):
			p.err = err
		}
		return false
	}
	return true
}

func (p *prober) copyObject(ctx context.Context, ifSource string, when precondition) error {
	_, err := p.client.CopyObject(ctx, &awss3.CopyObjectInput{
		Bucket: &p.cfg.Bucket, Key: &p.key, CopySource: &p.source, CopySourceIfMatch: optional(ifSource),
		MetadataDirective: types.MetadataDirectiveReplace, Metadata: map[string]string{"probe": "copied"},
		IfMatch: when.ifMatch, IfNoneMatch: when.ifNoneMatch,
		ServerSideEncryption: p.cfg.ServerSideEncryption, SSEKMSKeyId: p.kmsKey(), BucketKeyEnabled: p.bucketKey(),
	}, p.guard)
	return err
}

func ifMatchWrong() precondition { return precondition{ifMatch: aws.String(wrongETag)} }
func ifNoneMatch() precondition  { return precondition{ifNoneMatch: aws.String("*")} }

func (p *prober) copyFromWrong(ctx context.Context) error {
	return p.copyObject(ctx, wrongETag, precondition{})
}

func (p *prober) copyIfMatch(ctx context.Context) error {
	return p.copyObject(ctx, "", ifMatchWrong())
}

func (p *prober) copyIfAbsent(ctx context.Context) error {
	return p.copyObject(ctx, "", ifNoneMatch())
}

func (p *prober) copyPartFromWrong(ctx context.Context) error {
	return p.withUpload(ctx, p.key, nil, func(u *upload) error {
		_, err := p.client.UploadPartCopy(ctx, &awss3.UploadPartCopyInput{
			Bucket: &p.cfg.Bucket, Key: &p.key, UploadId: &u.id, PartNumber: aws.Int32(1),
			CopySource: &p.source, CopySourceIfMatch: aws.String(wrongETag),
		}, p.guard)
		if err == nil {
			err = fmt.Errorf("%w: condition on the source of a part", atrest.ErrUnsupported)
		}
		return err
	})
}

func (p *prober) putIfMatch(ctx context.Context) error {
	return p.putObject(ctx, p.key, nil, []byte("overwritten"), ifMatchWrong())
}

func (p *prober) putIfAbsent(ctx context.Context) error {
	return p.putObject(ctx, p.key, nil, []byte("overwritten"), ifNoneMatch())
}

func (p *prober) completeIfMatch(ctx context.Context) error  { return p.complete(ctx, ifMatchWrong()) }
func (p *prober) completeIfAbsent(ctx context.Context) error { return p.complete(ctx, ifNoneMatch()) }

func (p *prober) complete(ctx context.Context, when precondition) error {
	return p.withUpload(ctx, p.key, nil, func(u *upload) error {
		if err := u.send(ctx, u.number(), []byte("overwritten")); err != nil {
			return err
		}
		return u.complete(ctx, when)
	})
}

func (p *prober) deleteIfMatch(ctx context.Context) error {
	_, err := p.client.DeleteObject(ctx, &awss3.DeleteObjectInput{
		Bucket: &p.cfg.Bucket, Key: &p.key, IfMatch: aws.String(wrongETag),
	}, p.guard)
	return err
}

// optional returns nil for an empty header.
func optional(value string) *string {
	if value == "" {
		return nil
	}
	return &value
}

// isProbe tells whether a key is a leftover of a probe.
func (s *Store) isProbe(key string) bool { return strings.HasPrefix(key, s.cfg.Prefix+probePrefix) }
