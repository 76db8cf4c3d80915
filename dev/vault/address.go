package main

import (
	"fmt"
	"net"
	"net/netip"
)

// addresses are the places where this server is found.
type addresses struct {
	api           string       // URL for clients
	cluster       string       // URL for other servers
	clusterListen *net.TCPAddr // where to listen for other servers
}

// resolveAddresses fills in what the configuration leaves open from the
// address that the listener was really bound to.
func resolveAddresses(c *config, bound net.Addr) (addresses, error) {
	scheme := "https"
	if c.Listener.TLSDisable {
		scheme = "http"
	}
	at := addresses{api: c.APIAddr, cluster: c.ClusterAddr}
	if at.api == "" {
		at.api = scheme + "://" + bound.String()
	}
	listen := c.Listener.ClusterAddress
	if listen == "" {
		var err error
		if listen, err = defaultClusterAddress(c.Listener.Address); err != nil {
			return addresses{}, err
		}
	}
	tcp, err := net.ResolveTCPAddr("tcp", listen)
	if err != nil {
		return addresses{}, fmt.Errorf("cluster_address: %w", err)
	}
	at.clusterListen = tcp
	if at.cluster == "" {
		// Servers always talk TLS to each other, with certificates they
		// make themselves. Of an address ending in ":0" the core writes
		// down the real port once it listens.
		at.cluster = "https://" + tcp.String()
	}
	return at, nil
}

// defaultClusterAddress is the port above the listener's, as Vault has it,
// unless the listener's is chosen by the system: then so is this one, as the
// next port may well be taken.
func defaultClusterAddress(listener string) (string, error) {
	tcp, err := net.ResolveTCPAddr("tcp", listener)
	if err != nil {
		return "", fmt.Errorf("listener address: %w", err)
	}
	address := tcp.AddrPort()
	if address.Port() == 0 {
		return address.String(), nil
	}
	return netip.AddrPortFrom(address.Addr(), address.Port()+1).String(), nil
}
