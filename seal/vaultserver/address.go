package vaultserver

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
)

// addresses are the places where a server is found.
type addresses struct {
	listen     string // host and port for clients
	cluster    string // host and port for other nodes
	local      string // URL for clients on this machine
	apiURL     string // URL for clients of other nodes
	clusterURL string // URL for other nodes
}

// choose fills in what the configuration leaves open. A port that is chosen here is
// free now, and may be gone when Vault wants it.
func choose(c Config) (addresses, error) {
	scheme := "https"
	if _, none := c.TLS.(NoTLS); none {
		scheme = "http"
	}
	host, port, err := splitAddress(c.Address)
	if err != nil {
		return addresses{}, fmt.Errorf("Config.Address: %w", err)
	}
	clusterHost, clusterPort := host, nextPort(port)
	if c.ClusterAddress != "" {
		if clusterHost, clusterPort, err = splitAddress(c.ClusterAddress); err != nil {
			return addresses{}, fmt.Errorf("Config.ClusterAddress: %w", err)
		}
	}
	ports, err := freePorts([2]string{host, clusterHost}, [2]int{port, clusterPort})
	if err != nil {
		return addresses{}, err
	}
	at := addresses{listen: join(host, ports[0]), cluster: join(clusterHost, ports[1])}
	at.local = scheme + "://" + join(reachable(host), ports[0])
	at.apiURL, err = announced("APIURL", c.APIURL, scheme, at.listen, host, c.Storage.shared())
	if err != nil {
		return addresses{}, err
	}
	at.clusterURL, err = announced("ClusterURL", c.ClusterURL, "https", at.cluster, clusterHost, c.Storage.shared())
	return at, err
}

// nextPort is where Vault has its cluster by default. 0 stands for a free one.
func nextPort(port int) int {
	if port == 0 || port == 65535 {
		return 0
	}
	return port + 1
}

func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("want a host and a port: %w", err)
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not the number of a port", text)
	}
	// Vault evaluates {{templates}} in an address.
	if u, err := url.Parse("http://" + net.JoinHostPort(host, text)); err != nil || u.Hostname() != host {
		return "", 0, fmt.Errorf("%q is not a host", host)
	}
	return host, int(number), nil
}

func join(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// freePorts replaces each port 0 by one that was free a moment ago. Both are held
// until both are known, so that they differ.
func freePorts(hosts [2]string, ports [2]int) ([2]int, error) {
	for i, port := range ports {
		if port != 0 {
			continue
		}
		l, err := net.Listen("tcp", join(hosts[i], 0))
		if err != nil {
			return ports, fmt.Errorf("looking for a free port: %w", err)
		}
		defer l.Close() // nothing was accepted, so nothing is lost
		tcp, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			return ports, fmt.Errorf("looking for a free port: %v is none", l.Addr())
		}
		ports[i] = tcp.Port
	}
	return ports, nil
}

// everywhere reports whether a host stands for all addresses of the machine.
func everywhere(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.Unmap().IsUnspecified()
}

// reachable is the host at which this machine reaches a listener on host.
func reachable(host string) string {
	if !everywhere(host) {
		return host
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() {
		return "::1"
	}
	return "127.0.0.1"
}

// announced is the URL of the configuration, or else that of the address.
func announced(field, configured, scheme, address, host string, shared bool) (string, error) {
	if configured == "" {
		if everywhere(host) && shared {
			return "", fmt.Errorf("missing Config.%s: %q stands for all addresses, and says not where others find this node", field, address)
		}
		_, port, err := net.SplitHostPort(address)
		return scheme + "://" + net.JoinHostPort(reachable(host), port), err
	}
	u, err := url.Parse(configured)
	if err != nil || u.Host == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("want a URL of scheme, host and port in Config.%s", field) // what is there may hold a password
	}
	if u.Scheme != scheme {
		return "", fmt.Errorf("want %s:// in Config.%s", scheme, field)
	}
	return scheme + "://" + u.Host, nil
}
