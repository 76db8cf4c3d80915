package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atrest/atrest/backend/postgres"
)

func (l *largeObjects) openDisk(ctx context.Context, e *env) (err error) {
	p, err := e.openDisk(ctx)
	if err != nil {
		return err
	}
	e.onClose(p.close)
	l.clear = func(context.Context) error { return nil }
	l.plain = plainFile(filepath.Join(e.dir, "plain"))
	err = l.useBlobs(ctx, e, p.blobs)
	return err
}

// plainFile is the path of a file.
type plainFile string

func (p plainFile) clear(context.Context) error { return nil }

func (p plainFile) put(_ context.Context, src io.Reader) error {
	f, err := os.Create(string(p))
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(onlyWriter{f}, src, make([]byte, 1<<20))
	return errors.Join(err, f.Sync(), f.Close())
}

func (p plainFile) get(_ context.Context, c *checker) error { return readFile(string(p), c) }

func (p plainFile) getRange(_ context.Context, offset, length int64) ([]byte, error) {
	f, err := os.Open(string(p))
	if err != nil {
		return nil, err
	}
	part := make([]byte, length)
	_, err = f.ReadAt(part, offset)
	return part, errors.Join(err, f.Close())
}

func (l *largeObjects) openPostgres(ctx context.Context, e *env) error {
	pool, err := e.pool(ctx)
	if err != nil {
		return err
	}
	schema := "large_" + random()
	blobs, err := postgres.New(ctx, postgres.Config{Pool: pool, Schema: schema})
	if err != nil {
		return err
	}
	if err = l.useBlobs(ctx, e, blobs); err != nil {
		return err
	}
	// What chunks ours are, an object tells.
	if _, err := l.store.Put(ctx, "chunks", newLargeSource(8<<20).reader(), nil); err != nil {
		return err
	}
	p := &plainRows{pool: pool, table: pgx.Identifier{schema, "plain"}}
	if err := pool.QueryRow(ctx, `SELECT max(length(data)) FROM `+schema+`.chunks`).Scan(&p.chunk); err != nil {
		return err
	}
	l.plain = p
	l.clear = func(ctx context.Context) error {
		return errors.Join(l.store.Delete(ctx, largeName, nil), execute(ctx, pool, `VACUUM `+schema+`.chunks`, `CHECKPOINT`))
	}
	return execute(ctx, pool,
		`CREATE TABLE `+p.name()+` (seq int PRIMARY KEY, data bytea NOT NULL)`,
		`ALTER TABLE `+p.name()+` ALTER data SET STORAGE EXTERNAL`)
}

// execute runs statements one after the other.
func execute(ctx context.Context, pool *pgxpool.Pool, statements ...string) error {
	for _, sql := range statements {
		if _, err := pool.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// plainRows are chunks of an object, a row each.
type plainRows struct {
	pool  *pgxpool.Pool
	table pgx.Identifier
	chunk int
}

func (p *plainRows) name() string { return p.table.Sanitize() }

func (p *plainRows) clear(ctx context.Context) error {
	return execute(ctx, p.pool, `TRUNCATE `+p.name(), `CHECKPOINT`)
}

func (p *plainRows) put(ctx context.Context, src io.Reader) error {
	buf := make([]byte, p.chunk)
	seq := int32(-1)
	_, err := p.pool.CopyFrom(ctx, p.table, []string{"seq", "data"}, pgx.CopyFromFunc(func() ([]any, error) {
		n, err := io.ReadFull(src, buf)
		if n == 0 {
			if err == io.EOF {
				err = nil
			}
			return nil, err
		}
		seq++
		return []any{seq, buf[:n]}, nil
	}))
	return err
}

func (p *plainRows) get(ctx context.Context, c *checker) error {
	rows, err := p.pool.Query(ctx, `SELECT data FROM `+p.name()+` ORDER BY seq`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if _, err := c.Write(rows.RawValues()[0]); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (p *plainRows) getRange(ctx context.Context, offset, length int64) ([]byte, error) {
	part := make([]byte, 0, length)
	for chunk := int64(p.chunk); length > 0; {
		n := min(length, chunk-offset%chunk)
		var piece []byte
		err := p.pool.QueryRow(ctx, `SELECT substring(data FROM $2 FOR $3) FROM `+p.name()+` WHERE seq = $1`,
			int32(offset/chunk), int32(offset%chunk+1), int32(n)).Scan(&piece)
		if err != nil {
			return nil, err
		}
		part = append(part, piece...)
		offset, length = offset+n, length-n
	}
	return part, nil
}

func (l *largeObjects) openS3(ctx context.Context, e *env) error {
	p, err := e.openS3(ctx)
	if err != nil {
		return err
	}
	client, bucket, err := e.bucket(ctx)
	if err != nil {
		return err
	}
	l.clear = func(context.Context) error { return nil }
	l.plain = &plainObject{client, transfermanager.New(client), bucket}
	err = l.useBlobs(ctx, e, p.blobs)
	return err
}

// plainObject is an object of S3.
type plainObject struct {
	client  *awss3.Client
	manager *transfermanager.Client
	bucket  string
}

var plainKey = aws.String("plain")

func (p *plainObject) clear(context.Context) error { return nil }

func (p *plainObject) put(ctx context.Context, src io.Reader) error {
	_, err := p.manager.UploadObject(ctx, &transfermanager.UploadObjectInput{Bucket: &p.bucket, Key: plainKey, Body: src})
	return err
}

// get fetches ranges in parallel. The manager's other way, GetObject, which
// returns a reader, was some twenty times slower on these servers.
func (p *plainObject) get(ctx context.Context, c *checker) error { return p.download(ctx, c) }

func (p *plainObject) getFile(ctx context.Context, f *os.File) error { return p.download(ctx, f) }

func (p *plainObject) download(ctx context.Context, w io.WriterAt) error {
	_, err := p.manager.DownloadObject(ctx, &transfermanager.DownloadObjectInput{Bucket: &p.bucket, Key: plainKey, WriterAt: w})
	return err
}

func (p *plainObject) getRange(ctx context.Context, offset, length int64) ([]byte, error) {
	answer, err := p.client.GetObject(ctx, &awss3.GetObjectInput{
		Bucket: &p.bucket, Key: plainKey, Range: aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1)),
	})
	if err != nil {
		return nil, err
	}
	part, err := io.ReadAll(answer.Body)
	return part, errors.Join(err, answer.Body.Close())
}
