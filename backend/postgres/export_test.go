package postgres

import "github.com/atrest/atrest/internal/devpostgres"

// Server is what the tests share, for those of package postgres_test.
func Server() *devpostgres.Server { return server }
