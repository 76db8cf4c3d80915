// Package transit wraps data keys with a key that never leaves HashiCorp
// Vault's transit engine (or OpenBao's, which answers the same).
//
// A [Wrapper] sends a data key and a context to Vault and gets back the
// wrapped key, Vault's text "vault:vN:BASE64", where N is the version of the
// transit key. The transit key must be derived: Vault then encrypts each data
// key under a key of its own, derived from the context, and refuses to unwrap
// under any other context. The binding survives [Wrapper.RewrapBatch].
//
// # Group commit
//
// Concurrent calls of Wrap, and of Unwrap, share requests. A call that finds
// no request of its kind under way leaves at once. Calls that arrive meanwhile
// leave together when it returns, so that 64 concurrent puts cost a few round
// trips. An item that Vault refuses fails alone, and a caller whose context
// ends leaves alone.
//
// # Login
//
// The caller logs in, and keeps the token of its [api.Client] valid. Each
// request uses the token that the client holds at that moment. The client's
// address, namespace and headers are taken once, when the Wrapper is opened.
//
// # TLS
//
// Data keys go to Vault and come from it as they are, protected by nothing but
// the connection. So Open refuses an http:// address, with
// atrest.ErrPlaintextConnection, unless it is on this machine or its host is
// among Config.PlaintextHosts, and so does every request if Vault redirects it
// to such an address. Which certificates are trusted is a setting of the client.
//
// # The policy
//
// A Wrapper for key NAME at mount MOUNT needs, and should have no more than:
//
//	path "MOUNT/keys/NAME"    { capabilities = ["read"] }
//	path "MOUNT/encrypt/NAME" { capabilities = ["update"] }
//	path "MOUNT/decrypt/NAME" { capabilities = ["update"] }
//	path "MOUNT/rewrap/NAME"  { capabilities = ["update"] }
//
// [Wrapper.Rotate] also needs "update" on MOUNT/keys/NAME/rotate, and
// Config.CreateKey needs "create" and "update" on MOUNT/keys/NAME.
//
// Do not grant "create" on MOUNT/encrypt/NAME. To encrypt with a key that does
// not exist creates the key if the policy has "create", and a new key in the
// place of a deleted one would hide the loss. A Wrapper also names a key type
// in each encrypt request that Vault refuses to create, so that even under a
// policy with "create" a missing key is an error, atrest.ErrKeyNotFound. Vault
// ignores the type when the key exists.
package transit
