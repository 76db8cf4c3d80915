// Package seal keeps what unseals an internal Vault: the unseal key, under a
// password that only this machine's instance key opens.
//
//	instance key              on this machine only: 32 bytes, an [InstanceKey]
//	  └─ opens → password file        the Encryption Password, on local disk
//	       └─ Argon2id → opens → seal record   the unseal key, in the shared database
//	            └─ unseals → internal Vault
//
// Several machines share one seal record. Each has a password file of its own
// under an instance key of its own, all with the same password. A machine that
// is lost with its disk is replaced from the database and the password alone.
//
// docs/seal.md has the formats to the byte.
//
// # What it defends against
//
// Who holds the database without the password learns the id of the
// installation, how often the password was changed, whether Vault was initialised,
// about how long the record is, and which records of shares there are. To guess the
// password costs one Argon2id a guess. Who holds the password file without the
// instance key can't even guess.
//
// Who can write the database or the file can make opening fail, and can bring
// back an older record or file whole. They can't make anything open that was
// not sealed under that password, or that instance key: all that is stored is
// authenticated, the parameters and the state of the record with it, and nothing is
// released before it is.
//
// # What it does not defend against
//
// Root on the machine can read the instance key, hence everything; so can who
// runs as the same user, and who reads this process's memory, its core dumps or
// its swap. Secrets are overwritten after use, but the Go runtime, the cipher's
// implementations and Argon2id's blocks of memory may keep copies until that
// memory is used again.
//
// Permissions are checked on Unix only. On other systems the owner and the mode
// of a file say nothing about who may read it, so there it is the operator who
// has to see to that.
//
// # Types
//
// [KeyFile], [Credential] and [Environment] are the ready-made instance keys;
// [CreateKeyFile] makes a new one. [GeneratePassword] makes a password.
// [Argon2id] says how costly it is to guess one. A [Manager] does the rest: it boots
// the internal Vault from whatever state it is in, gives out clients that are logged
// in to it, and changes the password, the unseal key and the secret id.
package seal
