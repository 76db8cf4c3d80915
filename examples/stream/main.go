// Stream stores a large file and reads it back, in constant memory, and then
// only a few bytes from its middle.
//
//	make example NAME=stream ARGS=/path/to/a/large/file
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"log"
	"os"

	"github.com/atrest/atrest/backend/disk"
	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
	vault "github.com/hashicorp/vault/api"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: stream FILE, or make example NAME=stream ARGS=FILE")
	}
	if err := run(context.Background(), os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, path string) error {
	dir, err := os.MkdirTemp("", "atrest-stream-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	blobs, err := disk.New(ctx, disk.Config{Dir: dir})
	if err != nil {
		return err
	}
	defer blobs.Close()
	client, err := vault.NewClient(nil)
	if err != nil {
		return err
	}
	keys, err := transit.Open(ctx, transit.Config{Client: client, Key: "stream", CreateKey: true})
	if err != nil {
		return err
	}
	store, err := storage.New(storage.Config{ID: "stream", Backend: blobs, Keys: keys})
	if err != nil {
		return err
	}

	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	wrote := sha256.New()
	info, err := store.Put(ctx, "large", io.TeeReader(file, wrote), &storage.PutOptions{
		Metadata: storage.Metadata{"source": path},
	})
	if err != nil {
		return err
	}
	fmt.Printf("put  %d bytes, SHA-256 %x\n", info.Size, wrote.Sum(nil))

	got, err := readAll(ctx, store, "large")
	if err != nil {
		return err
	}
	fmt.Printf("got  the same: %t\n", string(got.Sum(nil)) == string(wrote.Sum(nil)))

	r, err := store.GetRange(ctx, "large", info.Size/2, 16)
	if err != nil {
		return err
	}
	defer r.Close()
	middle, err := io.ReadAll(r)
	fmt.Printf("read %d bytes from the middle: %x\n", len(middle), middle)
	return err
}

// readAll streams an object into a hash. What has been read is to be used only
// when the end has been reached: a stream can fail late.
func readAll(ctx context.Context, store *storage.Store, name string) (hash.Hash, error) {
	r, err := store.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	h := sha256.New()
	_, err = io.Copy(h, r)
	return h, err
}
