// Package postgres keeps ciphertext in a PostgreSQL database: a [Store] implements
// [backend.Blobs], [backend.HeaderBatcher] and [backend.PutBatcher], and [Records] implement
// [backend.Records]. [VaultTables] are where an internal Vault keeps its data.
//
// A small object is one row, put and got in one round trip. The body of a large
// one is in chunks, each a row of another table, sent with COPY and read in
// ranges. A record is a row too. Every change is one transaction.
//
// README.md beside this file says how the tables are laid out, which rights a role
// needs, and how to use a pooler such as PgBouncer.
package postgres
