// Rotate gives the transit key a new version and brings all objects to it,
// without reading or encrypting their bodies again.
//
//	make example NAME=rotate
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/atrest/atrest/backend/memory"
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
	client, err := vault.NewClient(nil)
	if err != nil {
		return err
	}
	keys, err := transit.Open(ctx, transit.Config{Client: client, Key: "rotate", CreateKey: true})
	if err != nil {
		return err
	}
	store, err := storage.New(storage.Config{ID: "rotate", Backend: memory.New(), Keys: keys})
	if err != nil {
		return err
	}
	for i := range 2000 {
		if _, err := store.PutBytes(ctx, fmt.Sprintf("secret/%04d", i), fmt.Append(nil, i), nil); err != nil {
			return err
		}
	}

	if err := keys.Rotate(ctx); err != nil {
		return err
	}
	done, err := store.Rewrap(ctx, &storage.RewrapOptions{
		Progress: func(p storage.RewrapProgress) {
			fmt.Printf("%d rewrapped to version %d, up to %s\n", p.Rewrapped, p.KeyVersion, p.Last)
		},
		// An object that can't be rewrapped does not stop the others.
		Failed: func(name string, err error) { log.Printf("%s: %v", name, err) },
	})
	if err != nil {
		return err
	}

	// Once nothing needs the old version, Vault can be told to refuse it.
	behind := 0
	for entry, err := range store.List(ctx, nil) {
		if err != nil {
			return err
		}
		if entry.KeyVersion < done.KeyVersion {
			behind++
		}
	}
	fmt.Printf("%d objects still need an older version\n", behind)
	return nil
}
