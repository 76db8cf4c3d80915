// Package storage keeps secrets in a place that need not be trusted.
//
// A [Store] encrypts each object with a data key of its own, has the data key
// wrapped by Vault's transit engine, and gives header and ciphertext to a
// backend: a disk, memory, a database, a bucket. The backend sees neither
// plaintext nor key. Whoever can read it learns names, sizes and times, and
// whoever can write it can make reads fail, but never make them return what was
// not put there under that name.
//
//	keys, err := transit.Open(ctx, transit.Config{Client: client, Key: "app"})
//	blobs, err := disk.New(ctx, disk.Config{Dir: "/var/lib/app/secrets"})
//	store, err := storage.New(storage.Config{ID: "app", Backend: blobs, Keys: keys})
//	_, err = store.PutBytes(ctx, "db/password", password, nil)
//	password, _, err = store.GetBytes(ctx, "db/password")
//
// # What is checked when
//
// No method hands out a byte that is not authenticated. Streams authenticate
// segment by segment, so a Reader may fail with ErrTampered after it has handed
// out a good beginning; io.EOF means that the whole is good. The size in an
// [Info] is the backend's word until the object has been read to the end, and the
// version always is. Name, metadata and time are authenticated by Get and Stat,
// and by nothing in a listing.
//
// What this cannot notice is a rollback: a backend that brings back an older
// object of the same name, whole, or pretends that it is not there.
//
// # Moving
//
// [Store.Copy] and [Store.Rename] work within a store. [Migrate] brings all
// objects into another: another backend, another Vault or transit key, another
// ID. None of them encrypts a body again.
//
// # Errors
//
// Errors wrap the values of package atrest, for use with errors.Is. An error
// from a caller's own reader, writer or context is found in the result by
// errors.Is and errors.As too.
package storage
