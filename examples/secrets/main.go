// Secrets keeps small secrets in PostgreSQL, in tables of its own beside those
// of the application: the database at DATABASE_URL, the Vault at VAULT_ADDR with
// the token in VAULT_TOKEN. A secret is read from standard input, never from the
// command line, where others could see it:
//
//	echo -n 'correct horse' | secrets set db/password
//	secrets get db/password
//	secrets list
//	secrets rotate
//
// Try it with servers of its own:
//
//	make example NAME=secrets ARGS=list
//
// Needs: vault postgres
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/atrest/atrest/backend/postgres"
	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
	vault "github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5/pgxpool"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string) error {
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer pool.Close()
	client, err := vault.NewClient(nil) // VAULT_ADDR, VAULT_TOKEN
	if err != nil {
		return err
	}
	keys, err := transit.Open(ctx, transit.Config{Client: client, Key: "secrets", CreateKey: true})
	if err != nil {
		return err
	}
	// Makes its schema, "atrest", the first time.
	blobs, err := postgres.New(ctx, postgres.Config{Pool: pool})
	if err != nil {
		return err
	}
	store, err := storage.New(storage.Config{ID: "secrets", Backend: blobs, Keys: keys})
	if err != nil {
		return err
	}

	switch {
	case len(args) == 2 && args[0] == "set":
		// Put streams; the secret may be a file of any size.
		info, err := store.Put(ctx, args[1], os.Stdin, nil)
		if err == nil {
			fmt.Printf("%s: %d bytes\n", info.Name, info.Size)
		}
		return err
	case len(args) == 2 && args[0] == "get":
		r, err := store.Get(ctx, args[1])
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(os.Stdout, r)
		return err
	case len(args) == 1 && args[0] == "list":
		for entry, err := range store.List(ctx, nil) {
			if err != nil {
				return err
			}
			fmt.Printf("%s\t%d bytes\tkey version %d\n", entry.Name, entry.Size, entry.KeyVersion)
		}
		return nil
	case len(args) == 1 && args[0] == "rotate":
		if err := keys.Rotate(ctx); err != nil {
			return err
		}
		done, err := store.Rewrap(ctx, nil)
		fmt.Printf("%d secrets are under key version %d now\n", done.Rewrapped+done.Current, done.KeyVersion)
		return err
	}
	return fmt.Errorf("usage: secrets set NAME | get NAME | list | rotate")
}
