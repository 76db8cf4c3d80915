package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"os"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend/s3"
	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
	"github.com/aws/aws-sdk-go-v2/config"
	aws "github.com/aws/aws-sdk-go-v2/service/s3"
	vault "github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A service answers requests. Uploads are bytes in the store, and a row each in
// the table.
type service struct {
	store *storage.Store
	db    *pgxpool.Pool
}

const table = `CREATE TABLE IF NOT EXISTS uploads (
	id text PRIMARY KEY, content_type text NOT NULL, size bigint NOT NULL, uploaded timestamptz NOT NULL DEFAULT now())`

// open connects to the three servers.
func open(ctx context.Context) (*service, error) {
	store, err := openStore(ctx)
	if err != nil {
		return nil, err
	}
	db, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return nil, err
	}
	if _, err := db.Exec(ctx, table); err != nil {
		db.Close()
		return nil, err
	}
	return &service{store: store, db: db}, nil
}

func openStore(ctx context.Context) (*storage.Store, error) {
	client, err := vault.NewClient(nil) // VAULT_ADDR, VAULT_TOKEN
	if err != nil {
		return nil, err
	}
	keys, err := transit.Open(ctx, transit.Config{Client: client, Key: "uploads", CreateKey: true})
	if err != nil {
		return nil, err
	}
	cfg, err := config.LoadDefaultConfig(ctx) // AWS_ACCESS_KEY_ID and so on
	if err != nil {
		return nil, err
	}
	bucket := aws.NewFromConfig(cfg, func(o *aws.Options) { o.UsePathStyle = true })
	blobs, err := s3.New(ctx, s3.Config{Client: bucket, Bucket: os.Getenv("S3_BUCKET"), Prefix: "uploads/"})
	if err != nil {
		return nil, err
	}
	return storage.New(storage.Config{ID: "uploads", Backend: blobs, Keys: keys})
}

// fail answers with what a client may know, and logs the rest.
func fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, pgx.ErrNoRows), errors.Is(err, atrest.ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, atrest.ErrVaultSealed), errors.Is(err, atrest.ErrVaultUnavailable), errors.Is(err, atrest.ErrUnavailable):
		status = http.StatusServiceUnavailable
	}
	log.Print(err)
	http.Error(w, http.StatusText(status), status)
}
