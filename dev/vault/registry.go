package main

import (
	"slices"

	jwtauth "github.com/hashicorp/vault-plugin-auth-jwt"
	kubeauth "github.com/hashicorp/vault-plugin-auth-kubernetes"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// secretEngines and authMethods are the plugins in this build beside those
// that Vault's core always has (token, kv version 1, cubbyhole, identity).
var (
	secretEngines = map[string]logical.Factory{"transit": transit.Factory}
	authMethods   = map[string]logical.Factory{
		"approle": approle.Factory,
		// Both log in by the token of a Kubernetes service account. The
		// first needs a cluster to ask, the second only its public key.
		"kubernetes": kubeauth.Factory,
		"jwt":        jwtauth.Factory,
	}
)

// registry tells the core which plugins are built in. The core consults it at
// every mount and has no answer of its own: without a registry it crashes
// there. Plugins of the core itself are named too, for sys/plugins/catalog.
type registry struct{}

func (registry) plugins(kind consts.PluginType) map[string]logical.Factory {
	switch kind {
	case consts.PluginTypeSecrets:
		return secretEngines
	case consts.PluginTypeCredential:
		return authMethods
	default:
		return nil
	}
}

// Contains reports whether a plugin is built in.
func (r registry) Contains(name string, kind consts.PluginType) bool {
	_, ok := r.plugins(kind)[name]
	return ok
}

// Get returns a plugin's factory, in the untyped form that the core expects.
func (r registry) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	factory, ok := r.plugins(kind)[name]
	if !ok {
		return nil, false
	}
	return func() (any, error) { return factory, nil }, true
}

// Keys lists the plugins of a kind.
func (r registry) Keys(kind consts.PluginType) []string {
	var names []string
	for name := range r.plugins(kind) {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// DeprecationStatus says that every plugin we build in is supported.
func (r registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	if !r.Contains(name, kind) {
		return consts.Unknown, false
	}
	return consts.Supported, true
}
