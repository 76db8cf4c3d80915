// Package atrest is the root of a library for secrets at rest: it encrypts
// each with a key of its own, has Vault wrap that key, and keeps the ciphertext
// where it need not be trusted.
//
// This package holds the errors that all the others return. What a service
// imports is
//
//   - package storage, whose Store puts, gets, lists, copies, rewraps,
//     verifies and migrates objects;
//   - package transit, which wraps data keys by the transit engine of HashiCorp
//     Vault or OpenBao;
//   - a backend for the ciphertext: package backend/postgres keeps it in
//     PostgreSQL, backend/s3 in a bucket, backend/disk in a directory,
//     backend/memory in memory, and package backend says what one of your own has
//     to do.
//
// A store in a few lines:
//
//	client, err := vault.NewClient(nil) // github.com/hashicorp/vault/api
//	keys, err := transit.Open(ctx, transit.Config{Client: client, Key: "app"})
//	blobs, err := disk.New(ctx, disk.Config{Dir: "/var/lib/app/secrets"})
//	store, err := storage.New(storage.Config{ID: "app", Backend: blobs, Keys: keys})
//
//	info, err := store.PutBytes(ctx, "db/password", secret, nil)
//	secret, info, err = store.GetBytes(ctx, "db/password")
//
// The bytes are specified in docs/format.md; the bodies are those of Tink's
// AES-GCM-HKDF streaming AEAD.
package atrest
