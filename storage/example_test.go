package storage_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/storage"
)

func ExampleStore_Put() {
	var (
		ctx   context.Context
		store *storage.Store
	)
	file, err := os.Open("backup.tar")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	info, err := store.Put(ctx, "backups/monday", file, &storage.PutOptions{
		Metadata: storage.Metadata{"host": "db-1"},
		IfAbsent: true,
	})
	if errors.Is(err, atrest.ErrExists) {
		log.Fatal("monday's backup has been made already")
	} else if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Size, "bytes are stored")
}

func ExampleStore_Get() {
	var (
		ctx   context.Context
		store *storage.Store
	)
	r, err := store.Get(ctx, "backups/monday")
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	file, err := os.Create("backup.tar.tmp")
	if err != nil {
		log.Fatal(err)
	}
	// The copy is whole, and what was put, only if Copy returns nil.
	if _, err := io.Copy(file, r); err != nil {
		log.Fatal(err)
	}
	if err := errors.Join(file.Close(), os.Rename(file.Name(), "backup.tar")); err != nil {
		log.Fatal(err)
	}
}

// Change a secret only if nobody else has since it was read.
func ExampleStore_PutBytes() {
	var (
		ctx   context.Context
		store *storage.Store
	)
	for {
		old, info, err := store.GetBytes(ctx, "counter")
		if err != nil {
			log.Fatal(err)
		}
		_, err = store.PutBytes(ctx, "counter", append(old, '+'), &storage.PutOptions{IfVersion: info.Version})
		if errors.Is(err, atrest.ErrConflict) {
			continue
		} else if err != nil {
			log.Fatal(err)
		}
		return
	}
}

// Serve objects over HTTP. If an object turns out to be damaged half-way, the
// connection is broken off: the client must not take what it has for the whole.
func ExampleReader() {
	var store *storage.Store
	http.HandleFunc("GET /{name...}", func(w http.ResponseWriter, req *http.Request) {
		r, err := store.Get(req.Context(), req.PathValue("name"))
		if errors.Is(err, atrest.ErrNotFound) {
			http.NotFound(w, req)
			return
		} else if err != nil {
			http.Error(w, "storage fails", http.StatusInternalServerError)
			return
		}
		defer r.Close()
		w.Header().Set("Content-Length", fmt.Sprint(r.Info().Size))
		if _, err := r.WriteTo(w); err != nil {
			panic(http.ErrAbortHandler)
		}
	})
}

// Move a store to another backend and another Vault while it is in use: a first
// run copies nearly everything, and one after the writers have stopped the rest.
func ExampleMigrate() {
	var (
		ctx         context.Context
		dst, src    *storage.Store
		stopWriters func()
	)
	opts := &storage.MigrateOptions{
		ReadBack: true,
		Progress: func(p storage.MigrateProgress) { log.Printf("%d objects copied, up to %s", p.Copied, p.Last) },
		Failed:   func(name string, err error) { log.Printf("%s: %v", name, err) },
	}
	if _, err := storage.Migrate(ctx, dst, src, opts); err != nil {
		log.Fatal(err) // a second run skips what is done
	}
	stopWriters()
	opts.Overwrite = true // what has been replaced in src since
	opts.ReadBack = false // or everything would be read once more
	if _, err := storage.Migrate(ctx, dst, src, opts); err != nil {
		log.Fatal(err)
	}
}

func ExampleStore_Verify() {
	var (
		ctx   context.Context
		store *storage.Store
	)
	for info, err := range store.Verify(ctx, nil) {
		switch {
		case err == nil:
		case info.Name == "": // not about one object: it has ended early
			log.Fatal(err)
		default:
			log.Printf("%s is damaged: %v", info.Name, err)
		}
	}
}

func ExampleStore_PutMany() {
	var (
		ctx   context.Context
		store *storage.Store
		from  map[string]string // such as another program's export
	)
	secrets := func(yield func(storage.Secret, error) bool) {
		for name, value := range from {
			if !yield(storage.Secret{Name: name, Content: []byte(value)}, nil) {
				return
			}
		}
	}
	for info, err := range store.PutMany(ctx, secrets, nil) {
		switch {
		case err != nil && info.Name == "":
			log.Fatal(err) // nothing more was put
		case err != nil:
			log.Printf("%s was not put: %v", info.Name, err)
		}
	}
}

func ExampleStore_GetMany() {
	var (
		ctx   context.Context
		store *storage.Store
	)
	names := func(yield func(string, error) bool) {
		for info, err := range store.List(ctx, &storage.ListOptions{Prefix: "app/", NamesOnly: true}) {
			if !yield(info.Name, err) {
				return
			}
		}
	}
	for got, err := range store.GetMany(ctx, names, nil) {
		switch {
		case err != nil && got.Info.Name == "":
			log.Fatal(err) // nothing more comes
		case err != nil:
			log.Printf("%s can't be read: %v", got.Info.Name, err)
		default:
			fmt.Println(got.Info.Name, len(got.Content))
		}
	}
}

// Of the secrets that are read most, up to 10,000 are read without asking Vault again
// for five minutes.
func ExampleKeyCache() {
	var (
		blobs backend.Blobs
		keys  storage.KeyWrapper
	)
	store, err := storage.New(storage.Config{
		ID: "shop", Backend: blobs, Keys: keys,
		KeyCache: storage.KeyCache{Keys: 10_000, MaxAge: 5 * time.Minute},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer store.ForgetKeys()
}
