// Internal-vault is the whole scheme on one machine. The database has a Vault's data, its sealed
// unseal key, and the secrets; DIR, which is made, has the instance key, and under it the Encryption
// Password, which the first run prints. That and the database are all that another machine needs.
//
//	[INTERNAL_VAULT=PROGRAM] [ENCRYPTION_PASSWORD=...] DATABASE_URL=... internal-vault DIR
//	make example NAME=internal-vault ARGS=DIR  # a database of its own each time; this is on one:
//	go run ./internal/cmd/withservers -postgres -- sh -c 'export INTERNAL_VAULT=dev/bin/vault P="correct horse battery"
//	  ENCRYPTION_PASSWORD=$P go run ./examples/internal-vault A  # a first start
//	  go run ./examples/internal-vault A                         # a second one
//	  ENCRYPTION_PASSWORD=$P go run ./examples/internal-vault B  # another machine'
//
// Needs: postgres
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend/postgres"
	"github.com/atrest/atrest/seal"
	"github.com/atrest/atrest/seal/vaultserver"
	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
	"github.com/jackc/pgx/v5/pgxpool"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: internal-vault DIR")
	}
	if err := run(context.Background(), os.Args[1], os.Getenv("DATABASE_URL")); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, dir, database string) (err error) {
	pool, err := pgxpool.New(ctx, database)
	if err != nil {
		return err
	}
	defer pool.Close()
	blobs, err1 := postgres.New(ctx, postgres.Config{Pool: pool, Schema: "internal_vault"})
	records, err2 := postgres.NewRecords(ctx, postgres.RecordsConfig{Pool: pool, Schema: "internal_vault"})
	if os.Mkdir(dir, 0o700) == nil { // a new machine; from then on, a key that is missing is an error
		err1 = errors.Join(err1, seal.CreateKeyFile(dir+"/instance.key"))
	}
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	server, err := vaultserver.Start(ctx, vaultserver.Config{Binary: os.Getenv("INTERNAL_VAULT"), Dir: dir + "/vault", Address: "127.0.0.1:0",
		Storage: vaultserver.PostgresTables(database, records.VaultTables(), 16)}) // with TLS, and a key of its own for it
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop(ctx)) }()
	client, err := server.Client()
	if err != nil {
		return err
	}
	manager, err := seal.New(seal.Config{Vault: client, Records: records, InstanceKey: seal.KeyFile(dir + "/instance.key"), PasswordFile: dir + "/password"})
	if err != nil {
		return err
	}
	defer manager.Close()
	err = manager.Boot(ctx, []byte(os.Getenv("ENCRYPTION_PASSWORD"))) // empty is the one on disk
	if errors.Is(err, atrest.ErrPasswordMissing) && errors.Is(err, atrest.ErrRecordMissing) {
		password := seal.GeneratePassword() // shown first: who dies in Boot has not lost it
		fmt.Printf("this begins an installation; keep its Encryption Password in a safe place: %s\n", password)
		err = manager.Boot(ctx, password)
	}
	if err != nil {
		return err
	}
	go manager.KeepUnsealed(ctx) // from here on it is a Vault like any other
	service, err := manager.Client()
	if err != nil {
		return err
	}
	keys, err := transit.Open(ctx, transit.Config{Client: service, Key: "atrest"})
	if err != nil {
		return err
	}
	store, err := storage.New(storage.Config{ID: "internal-vault", Backend: blobs, Keys: keys})
	if err != nil {
		return err
	}
	fmt.Println(manager.Status(ctx)) // all is well, or where it is broken
	_, err = store.PutBytes(ctx, "db/password", []byte("correct horse"), &storage.PutOptions{IfAbsent: true})
	if err != nil && !errors.Is(err, atrest.ErrExists) {
		return err
	}
	secret, _, err := store.GetBytes(ctx, "db/password")
	fmt.Printf("db/password: %s\n", secret)
	return err
}
