// Quickstart puts a secret and gets it back, through the Vault at VAULT_ADDR
// with the token in VAULT_TOKEN. Try it with a Vault of its own:
//
//	make example NAME=quickstart
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/atrest/atrest/backend/disk"
	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
	vault "github.com/hashicorp/vault/api"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	// In real life, a directory that stays: what is in it can be read as long as
	// the Vault and its key are there.
	dir, err := os.MkdirTemp("", "atrest-quickstart-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	client, err := vault.NewClient(nil) // VAULT_ADDR, VAULT_TOKEN
	if err != nil {
		return err
	}
	keys, err := transit.Open(ctx, transit.Config{Client: client, Key: "quickstart", CreateKey: true})
	if err != nil {
		return err
	}
	blobs, err := disk.New(ctx, disk.Config{Dir: dir})
	if err != nil {
		return err
	}
	defer blobs.Close()
	store, err := storage.New(storage.Config{ID: "quickstart", Backend: blobs, Keys: keys})
	if err != nil {
		return err
	}

	_, err = store.PutBytes(ctx, "db/password", []byte("correct horse"), nil)
	if err != nil {
		return err
	}
	secret, info, err := store.GetBytes(ctx, "db/password")
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d bytes, put at %s, version %s\n", info.Name, info.Size, info.Modified.UTC(), info.Version)
	fmt.Printf("it reads: %s\n", secret)
	return nil
}
