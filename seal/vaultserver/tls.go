package vaultserver

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/atrest/atrest/internal/plaintext"
)

// TLS is how the server speaks to clients: [GeneratedTLS], [TLSFiles] or [NoTLS].
type TLS interface {
	// check returns what is wrong with it for a listener at address.
	check(address string) error

	// prepare returns the files for Vault and what its clients trust; nil is
	// without TLS. The server has dir for itself. hosts are those that it is known by.
	prepare(dir string, hosts []string) (*credentials, error)
}

// credentials are the files by which Vault shows who it is, and how to recognise it.
type credentials struct {
	certFile, keyFile string
	roots             *x509.CertPool
	serverName        string // instead of the host of the address, unless empty
}

// clientConfig is that of a client that trusts nothing but the roots.
func (c *credentials) clientConfig() *tls.Config {
	if c == nil {
		return nil
	}
	return &tls.Config{RootCAs: c.roots, ServerName: c.serverName, MinVersion: tls.VersionTLS12}
}

// NoTLS is a listener without TLS. It must be on a loopback address, else it is
// atrest.ErrPlaintextConnection. While Vault is not running, any program on the machine
// can listen in its place, and would be sent the unseal key: use it where there are no
// users but trusted ones.
type NoTLS struct{}

func (NoTLS) check(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil // which is an error of the address
	}
	if host == "" { // all addresses
		host = "0.0.0.0"
	}
	return plaintext.Check(host, nil)
}

func (NoTLS) prepare(string, []string) (*credentials, error) { return nil, nil }

// TLSFiles is a certificate of one's own, in PEM. Vault reads the files at each of its
// starts, this package only at Start.
type TLSFiles struct {
	CertFile string // the certificate, and those between it and the root
	KeyFile  string // its private key

	// CAFile holds the roots that the client trusts. Empty: the client trusts just
	// the first certificate of CertFile.
	CAFile string

	// ServerName is the name that the client expects in the certificate. Empty: the
	// host of Config.Address.
	ServerName string
}

func (f TLSFiles) check(string) error {
	if f.CertFile == "" || f.KeyFile == "" {
		return errors.New("CertFile and KeyFile are required")
	}
	return nil
}

func (f TLSFiles) prepare(string, []string) (*credentials, error) {
	creds := &credentials{roots: x509.NewCertPool(), serverName: f.ServerName}
	var err error
	if creds.certFile, err = filepath.Abs(f.CertFile); err != nil {
		return nil, err
	}
	if creds.keyFile, err = filepath.Abs(f.KeyFile); err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(creds.certFile, creds.keyFile)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if f.CAFile == "" {
		creds.roots.AddCert(pair.Leaf)
		return creds, nil
	}
	text, err := os.ReadFile(f.CAFile)
	if err != nil {
		return nil, fmt.Errorf("CAFile: %w", err)
	}
	if !creds.roots.AppendCertsFromPEM(bytes.TrimSpace(text)) {
		return nil, fmt.Errorf("CAFile %q has no certificate in PEM", f.CAFile)
	}
	return creds, nil
}
