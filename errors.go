package atrest

import "errors"

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
	// operation to the credentials in use.
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
)
