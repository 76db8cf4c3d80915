package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A bare place keeps small contents as a program would that does not encrypt,
// and as durably as ours.
type bare interface {
	put(ctx context.Context, name string, content []byte) error
	get(ctx context.Context, name string) ([]byte, error)
	// count is how many there are.
	count(ctx context.Context) (int64, error)
}

// bareMemory is a map.
type bareMemory struct {
	mu       sync.RWMutex
	contents map[string][]byte
}

func newBareMemory() *bareMemory { return &bareMemory{contents: make(map[string][]byte)} }

func (b *bareMemory) put(_ context.Context, name string, content []byte) error {
	content = bytes.Clone(content)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.contents[name] = content
	return nil
}

func (b *bareMemory) get(_ context.Context, name string) ([]byte, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return bytes.Clone(b.contents[name]), nil
}

func (b *bareMemory) count(context.Context) (int64, error) {
	return int64(len(maps.Clone(b.contents))), nil
}

// bareDisk has a file for each content, which is written, fsynced and renamed,
// and the directory fsynced.
type bareDisk struct {
	dir, work string
	handle    *os.File // of dir
}

func newBareDisk(parent string) (*bareDisk, error) {
	dir := filepath.Join(parent, "bare-"+random())
	work := filepath.Join(parent, "work-"+random())
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Mkdir(work, 0o700)); err != nil {
		return nil, err
	}
	handle, err := os.Open(dir)
	return &bareDisk{dir, work, handle}, err
}

func (b *bareDisk) put(_ context.Context, name string, content []byte) error {
	f, err := os.CreateTemp(b.work, "")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(b.dir, name)); err != nil {
		return err
	}
	return b.handle.Sync()
}

func (b *bareDisk) get(_ context.Context, name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(b.dir, name))
}

func (b *bareDisk) count(context.Context) (int64, error) {
	entries, err := os.ReadDir(b.dir)
	return int64(len(entries)), err
}

// barePostgres has a row for each content.
type barePostgres struct {
	pool                 *pgxpool.Pool
	insert, query, tally string
}

func newBarePostgres(ctx context.Context, pool *pgxpool.Pool, schema string) (*barePostgres, error) {
	table := schema + ".bare_" + random()
	_, err := pool.Exec(ctx, `CREATE TABLE `+table+` (name text COLLATE "C" PRIMARY KEY, data bytea NOT NULL);
		ALTER TABLE `+table+` ALTER data SET STORAGE EXTERNAL`)
	return &barePostgres{
		pool:   pool,
		insert: `INSERT INTO ` + table + ` (name, data) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET data = EXCLUDED.data`,
		query:  `SELECT data FROM ` + table + ` WHERE name = $1`,
		tally:  `SELECT count(*) FROM ` + table,
	}, err
}

func (b *barePostgres) put(ctx context.Context, name string, content []byte) error {
	tag, err := b.pool.Exec(ctx, b.insert, name, content)
	if err == nil && tag.RowsAffected() != 1 {
		err = fmt.Errorf("%d rows", tag.RowsAffected())
	}
	return err
}

func (b *barePostgres) get(ctx context.Context, name string) (content []byte, err error) {
	err = b.pool.QueryRow(ctx, b.query, name).Scan(&content)
	return content, err
}

func (b *barePostgres) count(ctx context.Context) (n int64, err error) {
	err = b.pool.QueryRow(ctx, b.tally).Scan(&n)
	return n, err
}

// bareS3 has an object for each content.
type bareS3 struct {
	client         *awss3.Client
	bucket, prefix string
}

func (b *bareS3) put(ctx context.Context, name string, content []byte) error {
	_, err := b.client.PutObject(ctx, &awss3.PutObjectInput{
		Bucket: &b.bucket, Key: aws.String(b.prefix + name), Body: bytes.NewReader(content),
	})
	return err
}

func (b *bareS3) get(ctx context.Context, name string) ([]byte, error) {
	answer, err := b.client.GetObject(ctx, &awss3.GetObjectInput{Bucket: &b.bucket, Key: aws.String(b.prefix + name)})
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(answer.Body)
	return content, errors.Join(err, answer.Body.Close())
}

func (b *bareS3) count(ctx context.Context) (n int64, err error) {
	pages := awss3.NewListObjectsV2Paginator(b.client, &awss3.ListObjectsV2Input{Bucket: &b.bucket, Prefix: &b.prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, err
		}
		n += int64(len(page.Contents))
	}
	return n, nil
}
