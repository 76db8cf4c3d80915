// Migrate moves a store from a directory, which it fills first, to S3: the bucket
// S3_BUCKET of the server that the AWS_ variables name, through the Vault at
// VAULT_ADDR with the token in VAULT_TOKEN. Interrupted, it goes on where it was
// when started again. Try it with servers of its own:
//
//	make example NAME=migrate ARGS=/tmp/store-to-migrate
//
// Needs: vault s3
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend/disk"
	"github.com/atrest/atrest/backend/s3"
	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
	"github.com/aws/aws-sdk-go-v2/config"
	aws "github.com/aws/aws-sdk-go-v2/service/s3"
	vault "github.com/hashicorp/vault/api"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) != 2 {
		log.Fatal("usage: migrate DIR")
	}
	if err := run(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, dir string) error {
	client, err := vault.NewClient(nil) // VAULT_ADDR, VAULT_TOKEN
	if err != nil {
		return err
	}
	keys, err := transit.Open(ctx, transit.Config{Client: client, Key: "migrate", CreateKey: true})
	if err != nil {
		return err
	}
	src, closeSrc, err := openDisk(ctx, dir, keys)
	if err != nil {
		return err
	}
	defer closeSrc()
	dst, err := openS3(ctx, keys)
	if err != nil {
		return err
	}

	// Bodies go over as they are, authenticated on the way.
	done, err := storage.Migrate(ctx, dst, src, &storage.MigrateOptions{
		Progress: func(p storage.MigrateProgress) {
			fmt.Printf("\r%d objects, %d bytes", p.Copied+p.Skipped, p.CopiedBytes+p.SkippedBytes)
		},
		Failed: func(name string, err error) { fmt.Printf("\n%s stays behind: %v\n", name, err) },
	})
	fmt.Printf("\ncopied %d, there already %d, failed %d\n", done.Copied, done.Skipped, done.Failed)
	return err
}

// openDisk opens the store in a directory, with something in it.
func openDisk(ctx context.Context, dir string, keys *transit.Wrapper) (*storage.Store, func() error, error) {
	blobs, err := disk.New(ctx, disk.Config{Dir: dir})
	if err != nil {
		return nil, nil, err
	}
	store, err := storage.New(storage.Config{ID: "migrate", Backend: blobs, Keys: keys})
	for i := 0; i < 100 && err == nil; i++ {
		_, err = store.PutBytes(ctx, fmt.Sprintf("reports/%02d", i), make([]byte, 1000*i), &storage.PutOptions{IfAbsent: true})
		if errors.Is(err, atrest.ErrExists) { // from an earlier run
			err = nil
		}
	}
	return store, blobs.Close, err
}

func openS3(ctx context.Context, keys *transit.Wrapper) (*storage.Store, error) {
	cfg, err := config.LoadDefaultConfig(ctx) // AWS_ACCESS_KEY_ID and so on
	if err != nil {
		return nil, err
	}
	client := aws.NewFromConfig(cfg, func(o *aws.Options) { o.UsePathStyle = true })
	blobs, err := s3.New(ctx, s3.Config{Client: client, Bucket: os.Getenv("S3_BUCKET"), Prefix: "reports-store/"})
	if err != nil {
		return nil, err
	}
	return storage.New(storage.Config{ID: "migrate", Backend: blobs, Keys: keys})
}
