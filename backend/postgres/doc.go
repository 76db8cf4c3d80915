// Package postgres keeps ciphertext in a PostgreSQL database. It implements
// [backend.Blobs] and [backend.HeaderBatcher].
//
// A small object is one row, put and got in one round trip. The body of a large
// one is in chunks, each a row of another table, sent with COPY and read in
// ranges. Every change is one transaction.
//
// README.md beside this file says how the tables are laid out, which rights a role
// needs, and how to use a pooler such as PgBouncer.
package postgres
