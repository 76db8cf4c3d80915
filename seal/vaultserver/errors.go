package vaultserver

import "errors"

// Errors of this package, beside those of package atrest.
var (
	// ErrInUse means that another Server, of this process or of another, uses the
	// directory.
	ErrInUse = errors.New("another server uses the directory")

	// ErrStopped means that the server was stopped by [Server.Stop].
	ErrStopped = errors.New("the server was stopped")
)
