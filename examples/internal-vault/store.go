package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend/postgres"
	"github.com/atrest/atrest/seal"
	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
	"github.com/jackc/pgx/v5/pgxpool"
)

// boot boots with the password on disk, or the one that was given, or, on the
// installation's first boot, a new one.
func boot(ctx context.Context, manager *seal.Manager) error {
	var password []byte
	if given := os.Getenv("ENCRYPTION_PASSWORD"); given != "" {
		password = []byte(given)
	}
	err := manager.Boot(ctx, password)
	if password != nil || !errors.Is(err, atrest.ErrPasswordMissing) {
		return err
	}
	password = seal.GeneratePassword()
	if err := manager.Boot(ctx, password); err != nil {
		return fmt.Errorf("if there is an installation, give its password in ENCRYPTION_PASSWORD: %w", err)
	}
	fmt.Printf("a new installation; keep this Encryption Password in a safe place: %s\n", password)
	return nil
}

// useStore puts a secret, if it is not there yet, and reads it.
func useStore(ctx context.Context, pool *pgxpool.Pool, keys *transit.Wrapper, manager *seal.Manager) error {
	blobs, err := postgres.New(ctx, postgres.Config{Pool: pool, Schema: schema})
	if err != nil {
		return err
	}
	store, err := storage.New(storage.Config{ID: "internal-vault", Backend: blobs, Keys: keys})
	if err != nil {
		return err
	}
	_, err = store.PutBytes(ctx, "db/password", []byte("correct horse"), &storage.PutOptions{IfAbsent: true})
	if err != nil && !errors.Is(err, atrest.ErrExists) {
		return err
	}
	secret, info, err := store.GetBytes(ctx, "db/password")
	if err != nil {
		return err
	}
	fmt.Printf("%s, put %s: %s\n", info.Name, info.Modified.Format("2006-01-02 15:04:05"), secret)
	fmt.Println(manager.Status(ctx))
	return nil
}
