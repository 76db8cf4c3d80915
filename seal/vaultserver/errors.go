package vaultserver

import "errors"

// Errors of this package, beside those of package atrest.
var (
	// ErrInUse means that another Server, of this process or of another, uses the
	// directory.
	ErrInUse = errors.New("another server uses the directory")

	// ErrStopped means that the server was stopped by [Server.Stop].
	ErrStopped = errors.New("the server was stopped")

	// ErrUnsafeDir means that others than this user may read the directory, or
	// replace what is in it. Nothing was written there. The error around it says
	// what to do.
	ErrUnsafeDir = errors.New("unsafe directory")
)
