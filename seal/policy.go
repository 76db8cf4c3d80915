package seal

import "fmt"

// Policy returns the policy, in Vault's language, that a service needs for its
// transit key and no more: it can wrap, unwrap and rewrap data keys, and read which
// versions the key has. It can neither create keys, so that a mistyped name does not make
// one, nor rotate, delete, export or back up this one.
//
// An administrator of an external Vault writes it; in an internal one Boot does.
func Policy(mount, key string) string {
	path := func(operation string) string { return mount + "/" + operation + "/" + key }
	return fmt.Sprintf(`path %q { capabilities = ["read"] }
path %q { capabilities = ["update"] }
path %q { capabilities = ["update"] }
path %q { capabilities = ["update"] }
`, path("keys"), path("encrypt"), path("decrypt"), path("rewrap"))
}
