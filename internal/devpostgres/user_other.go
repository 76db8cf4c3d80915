//go:build !unix

package devpostgres

import "github.com/atrest/atrest/internal/child"

// serverUser is as whom the servers run: ourselves.
func serverUser() (*child.User, error) { return nil, nil }

func giveTo(*child.User, string) error { return nil }

func openPath(*child.User, string) error { return nil }
