package vaultserver_test

import (
	"context"
	"log"
	"log/slog"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atrest/atrest/backend/postgres"
	"github.com/atrest/atrest/seal/vaultserver"
)

// A Vault on the tables that backend/postgres makes for it. It is uninitialised the first
// time and sealed after each start: package seal sees to both.
func ExampleStart() {
	var (
		ctx      context.Context
		database = os.Getenv("DATABASE_URL")
	)
	pool, err := pgxpool.New(ctx, database)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	records, err := postgres.NewRecords(ctx, postgres.RecordsConfig{Pool: pool})
	if err != nil {
		log.Fatal(err)
	}
	server, err := vaultserver.Start(ctx, vaultserver.Config{
		Dir:     "/var/lib/app/vault",
		Storage: vaultserver.PostgresTables(database, records.VaultTables(), 16),
		Logger:  slog.Default(),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Stop(ctx)
	client, err := server.Client() // for seal.Config.Vault
	if err != nil {
		log.Fatal(err)
	}
	_ = client
}

// One of several nodes on one database: it listens where the others reach it, says by which
// name, and has a certificate for that.
func ExampleStart_severalNodes() {
	var (
		ctx     context.Context
		storage vaultserver.Storage // PostgresTables
	)
	server, err := vaultserver.Start(ctx, vaultserver.Config{
		Dir:     "/var/lib/app/vault",
		Address: "0.0.0.0:8200",
		APIURL:  "https://node1.example:8200", ClusterURL: "https://node1.example:8201",
		TLS: vaultserver.TLSFiles{
			CertFile: "/etc/app/node1.crt", KeyFile: "/etc/app/node1.key", CAFile: "/etc/app/ca.crt",
			ServerName: "node1.example",
		},
		Storage: storage,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Stop(ctx)
}
