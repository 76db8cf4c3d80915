package s3

import (
	"bytes"
	"context"
	"fmt"
	"io"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/atrest/atrest/backend"
)

// Put stores an object as [backend.Blobs] says. The last request replaces the old
// object whole: the only one for a body of up to Config.PartSize, else the one
// that completes a multipart upload. If the process dies before, an upload may be
// left, which nobody sees and [Store.Sweep] or a rule of the bucket removes.
//
// When ctx ends while the last request is under way, the error is ctx.Err() and
// the server may yet have carried it out.
func (s *Store) Put(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (v backend.Version, err error) {
	key, err := s.key(name)
	if err == nil {
		v, err = s.put(ctx, key, header, body, cond)
	}
	annotate(&err, "put", name)
	return v, err
}

func (s *Store) put(ctx context.Context, key string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
	if err := s.checkPut(ctx, header, cond); err != nil {
		return "", err
	}
	version := newVersion()
	meta := metadata(version, header)
	c := change{key: key, meets: meets(cond), ifAbsent: cond.IfAbsent, done: isNow(version)}
	first, eof, err := s.readFirst(ctx, body)
	if err != nil {
		return "", err
	}
	if eof {
		c.send = func(ctx context.Context, when precondition) error { return s.putObject(ctx, key, meta, first, when) }
		err = s.commit(ctx, c)
	} else {
		err = s.putLarge(ctx, c, meta, first, body)
	}
	if err != nil {
		return "", err
	}
	return version, nil
}

// checkPut checks what can be checked before the body is read.
func (s *Store) checkPut(ctx context.Context, header []byte, cond backend.Condition) error {
	if err := checkHeader(header); err != nil {
		return err
	}
	if err := checkCondition(cond); err != nil {
		return err
	}
	if cond != (backend.Condition{}) && !s.cfg.SoleWriter {
		_, err := s.conditions(ctx, false)
		return err
	}
	return nil
}

// putObject stores a whole object with one request.
func (s *Store) putObject(ctx context.Context, key string, meta map[string]string, body []byte, when precondition) error {
	in := &awss3.PutObjectInput{
		Bucket: &s.cfg.Bucket, Key: &key, Body: bytes.NewReader(body), Metadata: meta,
		IfMatch: when.ifMatch, IfNoneMatch: when.ifNoneMatch,
		ServerSideEncryption: s.cfg.ServerSideEncryption, SSEKMSKeyId: s.kmsKey(), BucketKeyEnabled: s.bucketKey(),
	}
	_, err := s.client.PutObject(ctx, in, s.guard)
	return when.answer(describe(ctx, err))
}

// readFirst reads the body up to Config.PartSize, and tells whether that was all.
// If it was not, the slice has this very length.
func (s *Store) readFirst(ctx context.Context, body io.Reader) (first []byte, eof bool, err error) {
	size := int64(32 << 10)
	if sized, ok := body.(interface{ Len() int }); ok {
		size = int64(sized.Len()) + 1 // to see the end without growing
	}
	for n := 0; ; size *= 4 {
		size = min(max(size, 512), s.cfg.PartSize)
		var buf []byte
		if size == s.cfg.PartSize {
			buf = s.newPart(size)
		} else {
			buf = make([]byte, size)
		}
		copy(buf, first)
		first = buf
		more, eof, err := fill(ctx, body, first[n:])
		n += more
		if err != nil || eof || int64(n) == s.cfg.PartSize {
			return first[:n], eof, err
		}
	}
}

// maxEmptyReads is how often a body may return nothing at a stretch.
const maxEmptyReads = 1000

// fill reads the body until buf is full or the body ends. Only io.EOF itself is
// an end: a body that was cut off may fail with something that wraps it.
func fill(ctx context.Context, body io.Reader, buf []byte) (n int, eof bool, err error) {
	for empty := 0; n < len(buf); {
		if err := ctx.Err(); err != nil {
			return n, false, err
		}
		m, err := body.Read(buf[n:])
		n += m
		switch {
		case err == io.EOF:
			return n, true, ctx.Err()
		case err != nil:
			return n, false, fmt.Errorf("body: %w", err)
		case m > 0:
			empty = 0
		case empty > maxEmptyReads:
			return n, false, fmt.Errorf("body: %w", io.ErrNoProgress)
		default:
			empty++
		}
	}
	return n, false, ctx.Err()
}
