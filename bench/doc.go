// Package bench holds what compares atrest with others: proof that its bodies
// are those of Tink's AES-GCM-HKDF streaming AEAD, counts of what an operation
// costs in requests, bytes and allocations, and benchmarks beside the standard
// library's cipher, Tink, and the obvious way to use Vault.
//
// It is a module of its own, so that the library does not depend on Tink. It is
// all in tests: the counts run with go test, the benchmarks as docs/benchmarks.md
// says. They need the development Vault; see internal/devvault.
package bench
