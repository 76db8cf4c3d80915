package main

import (
	"fmt"
	"net"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/vault"
)

// newCore opens the storage and builds a sealed Vault on it. The addresses say
// where other servers on the same storage find this one.
func newCore(c *config, at addresses, log hclog.Logger) (*vault.Core, error) {
	storage, ha, err := openStorage(c.Storage, log)
	if err != nil {
		return nil, err
	}
	core, err := vault.NewCore(coreConfig(c, at, storage, ha, log))
	if core == nil {
		return nil, fmt.Errorf("starting the core: %w", err)
	}
	if err != nil {
		if vault.IsFatalError(err) {
			return nil, fmt.Errorf("starting the core: %w", err)
		}
		// Vault's own server goes on after an error that is not fatal.
		log.Warn("starting the core", "error", err)
	}
	if ha != nil {
		core.SetClusterListenerAddrs([]*net.TCPAddr{at.clusterListen})
		core.SetClusterHandler(apiHandler(core, c.Listener))
	}
	return core, nil
}

// coreConfig translates our configuration into the core's.
func coreConfig(c *config, at addresses, storage physical.Backend, ha physical.HABackend, log hclog.Logger) *vault.CoreConfig {
	cc := &vault.CoreConfig{
		Physical:           storage,
		StorageType:        c.Storage.Type,
		LogicalBackends:    secretEngines,
		CredentialBackends: authMethods,
		BuiltinRegistry:    registry{},
		Logger:             log,
		LogLevel:           c.LogLevel.String(),
		DisableMlock:       c.DisableMlock,
		DefaultLeaseTTL:    c.DefaultLeaseTTL,
		MaxLeaseTTL:        c.MaxLeaseTTL,
		RedirectAddr:       at.api,
	}
	if ha != nil {
		// Only servers that elect a leader talk to each other.
		cc.HAPhysical = ha
		cc.ClusterAddr = at.cluster
	}
	return cc
}
