package main

import (
	"fmt"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/physical/postgresql"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/sdk/physical/inmem"
)

// storageFactories are the kinds of storage in this build: nothing kept, a
// directory, and the database that atrest's internal Vault runs on.
var storageFactories = map[string]physical.Factory{
	"inmem":      inmem.NewInmem,
	"file":       file.NewFileBackend,
	"postgresql": postgresql.NewPostgreSQLBackend,
}

// openStorage opens the storage and, where it can hold the lock by which
// several servers elect a leader, returns it a second time as such.
func openStorage(c storageConfig, log hclog.Logger) (physical.Backend, physical.HABackend, error) {
	storage, err := storageFactories[c.Type](c.Settings, log.Named("storage."+c.Type))
	if err != nil {
		return nil, nil, fmt.Errorf("opening %s storage: %w", c.Type, err)
	}
	if ha, ok := storage.(physical.HABackend); ok && ha.HAEnabled() {
		return storage, ha, nil
	}
	return storage, nil, nil
}
