// Package plaintext decides to which servers an unencrypted connection may be
// made: those on this machine, and those that the operator has named.
package plaintext

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/atrest/atrest"
)

// Check returns ErrPlaintextConnection unless host is on this machine or one of
// allowed. A host is a name, an IP address, with or without brackets or a port,
// or the absolute path of a socket. Names are compared without regard to case
// and to a final dot; no name but localhost is taken to be this machine, whatever a
// resolver says. Those below .localhost, which RFC 6761, section 6.3, reserves for it,
// are not: Go asks the DNS for them.
func Check(host string, allowed []string) error {
	name := canonical(host)
	if isLocal(name) || slices.ContainsFunc(allowed, func(a string) bool { return canonical(a) == name }) {
		return nil
	}
	return fmt.Errorf("%w to %q, which is not on this machine: use TLS, or name that host among the plaintext hosts of the configuration",
		atrest.ErrPlaintextConnection, name)
}

// canonical takes off what does not say which host it is.
func canonical(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().String()
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

func isLocal(name string) bool {
	if addr, err := netip.ParseAddr(name); err == nil {
		return addr.IsLoopback()
	}
	// An abstract socket of Linux begins with @ (unix(7)).
	return name == "localhost" || path.IsAbs(name) || strings.HasPrefix(name, "@")
}
