// Demo stores real files through a real Vault and shows what becomes of them.
// make demo starts the Vault and runs it on the files of this repository, or on
// FILE.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend/disk"
	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
	vault "github.com/hashicorp/vault/api"
)

func main() {
	log.SetFlags(0)
	path := "."
	if len(os.Args) > 1 && os.Args[1] != "" {
		path = os.Args[1]
	}
	// Ctrl-C ends what is under way, and what was made is removed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, path); err != nil {
		log.Fatal("demo: ", err)
	}
}

func run(ctx context.Context, path string) error {
	files, err := findFiles(path)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "atrest-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	// A store is a key in Vault, a place for ciphertext, and a name.
	client, err := vault.NewClient(nil) // VAULT_ADDR, VAULT_TOKEN
	if err != nil {
		return err
	}
	keys, err := transit.Open(ctx, transit.Config{Client: client, Key: "demo", CreateKey: true})
	if err != nil {
		return err
	}
	blobs, err := disk.New(ctx, disk.Config{Dir: dir})
	if err != nil {
		return err
	}
	defer blobs.Close()
	store, err := storage.New(storage.Config{ID: "demo", Backend: blobs, Keys: keys})
	if err != nil {
		return err
	}
	say("open", "transit key demo in the Vault at %s, ciphertext in %s", client.Address(), dir)

	began := time.Now()
	total, err := putAll(ctx, store, files)
	if err != nil {
		return err
	}
	say("put", "files: %d, bytes: %d, in %s, each file under a data key of its own", len(files), total, since(began))

	stored, pieces, err := searchStored(dir, files)
	if err != nil {
		return err
	}
	say("look", "%d bytes on disk; the beginnings of %d files were looked for in them, and not found. The first object begins:", stored, pieces)
	if err := dumpFirst(ctx, blobs); err != nil {
		return err
	}

	began = time.Now()
	if err := compareAll(ctx, store, files); err != nil {
		return err
	}
	say("get", "files read back and compared: %d, in %s", len(files), since(began))

	began = time.Now()
	if err := keys.Rotate(ctx); err != nil {
		return err
	}
	done, err := store.Rewrap(ctx, nil)
	if err != nil {
		return err
	}
	say("rotate", "the transit key to version %d; headers rewrapped: %d, bodies touched: none, in %s", done.KeyVersion, done.Rewrapped, since(began))
	if err := compareAll(ctx, store, files); err != nil {
		return err
	}
	say("get", "files read back and compared again: %d", len(files))

	changed, err := flipOneByte(ctx, blobs)
	if err != nil {
		return err
	}
	say("tamper", "the last byte of the ciphertext of %s is changed, by someone who can write the disk", changed)
	bad := 0
	for info, err := range store.Verify(ctx, nil) {
		if !errors.Is(err, atrest.ErrTampered) {
			if err != nil {
				return err
			}
			continue
		}
		bad++
		_, _, err := store.GetBytes(ctx, info.Name)
		say("get", "%v", err)
	}
	if bad != 1 {
		return fmt.Errorf("one object was tampered with, and %d were found", bad)
	}
	say("verify", "the other objects (%d) are good; now %s is removed", len(files)-bad, dir)
	return nil
}

func say(what, format string, args ...any) {
	fmt.Printf("%-7s %s\n", what, fmt.Sprintf(format, args...))
}

func since(t time.Time) time.Duration { return time.Since(t).Round(time.Millisecond) }
