package atrest

import (
	"errors"
	"fmt"
)

// Errors that callers branch on with [errors.Is]. Every package of this module
// returns these values, wrapped with the operation and the object's name, so
// that one list serves whatever backend and whatever Vault is in use.
//
// None of them, nor any error of this module, carries a secret, a token, or
// plaintext.
var (
	// ErrNotFound means that there is no object of that name.
	ErrNotFound = errors.New("object not found")

	// ErrExists means that a put, copy or rename that was asked not to
	// overwrite found an object of that name.
	ErrExists = errors.New("object already exists")

	// ErrConflict means that the object is no longer the version that the
	// caller named: someone else has replaced or deleted it. Read it again and
	// decide again.
	ErrConflict = errors.New("object has changed")

	// ErrInvalidName means that a name is empty, too long, not valid UTF-8, or
	// contains a NUL byte. No input or output has happened.
	ErrInvalidName = errors.New("invalid object name")

	// ErrTooLarge means that a metadata map, an object, or a value exceeds the
	// limit that the format sets.
	ErrTooLarge = errors.New("too large")

	// ErrUnsupported means that the backend or the server behind it cannot
	// keep the promise that was asked for, so it has not been tried.
	ErrUnsupported = errors.New("not supported")

	// ErrTampered is the one generic authentication failure: what is stored is
	// not what was put there under that name in that store. It does not say
	// which byte. Apart from an attack or a failing disk, the usual cause is a
	// store opened with another store id or another transit key than the one
	// it was written with.
	ErrTampered = errors.New("authentication failed: stored data is damaged, was altered, or belongs elsewhere")

	// ErrKeyNotFound means that Vault has no transit key of that name, or no
	// transit engine at that mount.
	ErrKeyNotFound = errors.New("transit key not found")

	// ErrKeyNotDerived means that the transit key exists but was not created
	// with derived=true. On such a key Vault silently ignores the context, so
	// that a wrapped key could be moved to another object unnoticed.
	ErrKeyNotDerived = errors.New("transit key is not derived")

	// ErrKeyVersionTooOld means that a data key is wrapped under a transit key
	// version below the key's min_decryption_version. Lower that setting,
	// rewrap, and raise it again.
	ErrKeyVersionTooOld = errors.New("wrapped under a version of the transit key that is below its min_decryption_version")

	// ErrPermission means that Vault, or the storage engine, refused the
	// operation to the credentials in use. In Vault, give them the policy that
	// Policy or ExternalPolicy of package seal returns, or that of package transit;
	// in PostgreSQL, give the role what Grants (for a store), RecordsGrants (for
	// records) or VaultGrants (for Vault's own role) of backend/postgres returns.
	ErrPermission = errors.New("permission denied")

	// ErrVaultSealed means that Vault answered, but is sealed or not
	// initialised. An operator must unseal it.
	ErrVaultSealed = errors.New("vault is sealed")

	// ErrVaultUnavailable means that Vault could not be reached, did not
	// answer in time, or answered with something that is not Vault's protocol.
	// The operation may be tried again.
	ErrVaultUnavailable = errors.New("vault is unavailable")

	// ErrUnavailable means that the storage engine (PostgreSQL, S3) could not be
	// reached, closed the connection in the midst of the operation, or is
	// shutting down, starting up or overloaded. A change has happened whole or
	// not at all. The operation may be tried again.
	ErrUnavailable = errors.New("storage engine is unavailable")

	// ErrStorageMissing means that the place that is to hold the objects is not
	// there: no such bucket, database, schema or table. The error around it says
	// how to make it.
	ErrStorageMissing = errors.New("storage does not exist")

	// ErrStorageFull means that the storage engine has no room left, or that a
	// quota is used up. Nothing was changed.
	ErrStorageFull = errors.New("storage is full")

	// ErrSchemaVersion means that the tables in the database are of a newer
	// version than this program knows, or of an older one and may not be brought
	// up to date by it.
	ErrSchemaVersion = errors.New("database schema is of another version than this program needs")

	// ErrPlaintextConnection means that the connection to a server that is not on
	// this machine would not be encrypted, or might not be. It was not made. Use
	// TLS, or name the host among those to which plaintext is allowed.
	ErrPlaintextConnection = errors.New("refused to connect without TLS")

	// ErrWrongPassword means that the Encryption Password does not open the seal
	// record. Authentication cannot tell that from a record that is damaged or
	// was altered.
	ErrWrongPassword = errors.New("wrong encryption password, or the seal record was altered")

	// ErrStalePassword means that the Encryption Password was changed on another
	// machine: the one at hand is of an earlier generation than the seal record.
	// Adopt the new one. It is ErrWrongPassword too.
	ErrStalePassword = fmt.Errorf("encryption password is out of date: %w", ErrWrongPassword)

	// ErrWeakPassword means that a new Encryption Password is too short, too
	// long, or has characters that get lost on the way through terminals and
	// files.
	ErrWeakPassword = errors.New("unfit encryption password")

	// ErrPasswordMissing means that there is no password file on this machine.
	// It is made by the first set-up, or by adopting the password of an
	// installation that exists.
	ErrPasswordMissing = errors.New("no password file on this machine")

	// ErrCorruptRecord means that a seal record or a password file is not one:
	// what is there does not parse, or its contents, though authentic, are
	// nothing that this version writes.
	ErrCorruptRecord = errors.New("not a valid record")

	// ErrOtherInstallation means that the seal record and the password file are
	// of two installations.
	ErrOtherInstallation = errors.New("belongs to another installation")

	// ErrInstanceKeyMissing means that the instance key is not where it was said
	// to be.
	ErrInstanceKeyMissing = errors.New("instance key is missing")

	// ErrWrongInstanceKey means that the instance key does not open the password
	// file, or is not an instance key at all: that is 32 bytes, in base64.
	// Authentication cannot tell a wrong key from a file that is damaged or was
	// altered.
	ErrWrongInstanceKey = errors.New("wrong instance key")

	// ErrUnsafePermissions means that others than the owner may read a file or a
	// directory that holds secrets, or may replace it, or that something else is in its
	// place, such as a symbolic link. Nothing was read or written there. The error
	// around it says what to do.
	ErrUnsafePermissions = errors.New("unsafe permissions")

	// ErrRecordMissing means that a record which it takes is not in the database that was
	// named: the seal record, because no installation was begun there, or because it is
	// another database or has lost it; or, where the shares of the unseal key have records
	// of their own, too many of these, or what says where they are. The error around it
	// says which.
	ErrRecordMissing = errors.New("record is missing")

	// ErrAlreadyInitialized means that Vault was initialised by somebody else, so that
	// its unseal key is not ours to have.
	ErrAlreadyInitialized = errors.New("vault is already initialised")

	// ErrInitInterrupted means that a run died between the initialisation of Vault and
	// the saving of its unseal key. Nothing is lost but an empty Vault.
	ErrInitInterrupted = errors.New("initialisation was interrupted")

	// ErrWrongUnsealKey means that the unseal key in the record does not unseal Vault:
	// the record and Vault's storage are from different times, or of different
	// installations.
	ErrWrongUnsealKey = errors.New("unseal key does not unseal this vault")
)
