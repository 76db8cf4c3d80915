// Internal-vault is the whole scheme on one machine: it runs a Vault of its own, which
// keeps its data in the PostgreSQL at DATABASE_URL, as do the sealed unseal key and the
// secrets; the password of the unseal key is on local disk, under the instance key in a
// file beside it. Everything that is this machine's own is in DIR:
//
//	internal-vault DIR
//
// The first run prints the Encryption Password, once: with the database, it is all that
// another machine needs. Give it there in ENCRYPTION_PASSWORD. Vault's program is at
// INTERNAL_VAULT, or vault or bao in PATH. Try it with a database of its own, which
// goes when it ends:
//
//	make example NAME=internal-vault ARGS=DIR
//
// Needs: postgres
package main

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend/postgres"
	"github.com/atrest/atrest/seal"
	"github.com/atrest/atrest/seal/vaultserver"
	"github.com/atrest/atrest/transit"
	"github.com/jackc/pgx/v5/pgxpool"
)

// schema is where all tables are, apart from those of the application.
const schema = "internal_vault"

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: internal-vault DIR")
	}
	if err := run(context.Background(), os.Args[1], os.Getenv("DATABASE_URL")); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, dir, database string) (err error) {
	keyFile := filepath.Join(dir, "instance.key")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chmod(dir, 0o700)); err != nil {
		return err
	}
	if err := seal.CreateKeyFile(keyFile); err != nil && !errors.Is(err, atrest.ErrExists) {
		return err
	}
	pool, err := pgxpool.New(ctx, database)
	if err != nil {
		return err
	}
	defer pool.Close()
	records, err := postgres.NewRecords(ctx, postgres.RecordsConfig{Pool: pool, Schema: schema})
	if err != nil {
		return err
	}

	// The internal Vault, as a child process.
	tables := records.VaultTables()
	vaultURL, err := tables.ConnectionURL(database)
	if err != nil {
		return err
	}
	server, err := vaultserver.Start(ctx, vaultserver.Config{
		Binary: os.Getenv("INTERNAL_VAULT"), Dir: filepath.Join(dir, "vault"), Address: "127.0.0.1:0",
		Storage: vaultserver.Postgres(vaultURL, tables.Settings(), 16),
		TLS:     vaultserver.GeneratedTLS{KeyType: vaultserver.ECDSAP384}, // RSA-4096 is the default, and takes seconds once
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop(ctx)) }()
	client, err := server.Client()
	if err != nil {
		return err
	}
	manager, err := seal.New(seal.Config{
		Vault: client, Records: records, InstanceKey: seal.KeyFile(keyFile), PasswordFile: filepath.Join(dir, "password"), Logger: slog.Default(),
	})
	if err != nil {
		return err
	}
	defer manager.Close()
	if err := boot(ctx, manager); err != nil {
		return err
	}
	keeping, stop := context.WithCancel(ctx)
	defer stop()
	go manager.KeepUnsealed(keeping) // until the program ends

	// From here on it is a Vault like any other.
	service, err := manager.Client()
	if err != nil {
		return err
	}
	keys, err := transit.Open(ctx, transit.Config{Client: service, Key: "atrest"})
	if err != nil {
		return err
	}
	return useStore(ctx, pool, keys, manager)
}
