package vaultserver

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"time"
)

// A KeyType is the kind of key of a generated certificate.
type KeyType int

const (
	RSA4096   KeyType = iota // the default. Making one takes a second or several
	ECDSAP384                // NIST P-384, made in no time
)

const rsaBits = 4096

const (
	certFile = "tls-cert.pem"
	keyFile  = "tls-key.pem"

	// A certificate that nobody but our own clients trusts may be valid for long. It
	// is looked at when the server starts only, so what is left then must outlast a
	// run.
	certLife  = 5 * 365 * 24 * time.Hour
	certRenew = 365 * 24 * time.Hour

	certLead = time.Hour // for clocks of other machines
)

// GeneratedTLS is a key and a certificate, signed by itself, that Start makes and keeps
// in Config.Dir, as tls-key.pem and tls-cert.pem. The next Start uses them again, unless
// the certificate is within a year of its end (it is valid for five), or is not of the
// key type and for the hosts that are asked for: then it makes new ones.
type GeneratedTLS struct {
	KeyType KeyType

	// Hosts are further names and IP addresses that the certificate is for, beside
	// localhost, 127.0.0.1, ::1, and the hosts of Config.Address and APIURL.
	Hosts []string
}

func (g GeneratedTLS) check(string) error {
	if g.KeyType != RSA4096 && g.KeyType != ECDSAP384 {
		return fmt.Errorf("KeyType is %d: want RSA4096 or ECDSAP384", g.KeyType)
	}
	if slices.Contains(g.Hosts, "") {
		return errors.New("one of Hosts is empty")
	}
	return nil
}

func (g GeneratedTLS) prepare(dir string, hosts []string) (*credentials, error) {
	hosts = append(hosts[:len(hosts):len(hosts)], g.Hosts...)
	creds := &credentials{certFile: filepath.Join(dir, certFile), keyFile: filepath.Join(dir, keyFile), roots: x509.NewCertPool()}
	leaf, err := g.load(creds, hosts)
	if err != nil {
		// Whatever it is, a key and a certificate of their own help.
		if leaf, err = g.make(creds, hosts); err != nil {
			return nil, err
		}
	}
	creds.roots.AddCert(leaf)
	return creds, nil
}

// load returns the certificate that is there, or why it can't be used.
func (g GeneratedTLS) load(creds *credentials, hosts []string) (*x509.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(creds.certFile, creds.keyFile) // a key of another certificate is an error
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if now.Before(pair.Leaf.NotBefore) || now.After(pair.Leaf.NotAfter.Add(-certRenew)) {
		return nil, errors.New("out of date")
	}
	switch key := pair.PrivateKey.(type) {
	case *rsa.PrivateKey:
		if g.KeyType != RSA4096 || key.N.BitLen() != rsaBits {
			return nil, errors.New("another type of key")
		}
	case *ecdsa.PrivateKey:
		if g.KeyType != ECDSAP384 || key.Curve != elliptic.P384() {
			return nil, errors.New("another type of key")
		}
	default:
		return nil, errors.New("another type of key")
	}
	for _, host := range hosts {
		if err := pair.Leaf.VerifyHostname(host); err != nil {
			return nil, err
		}
	}
	return pair.Leaf, nil
}

// make writes a new key and its certificate. After a death between the two they do not
// belong together, and load says so.
func (g GeneratedTLS) make(creds *credentials, hosts []string) (*x509.Certificate, error) {
	key, err := g.KeyType.generate()
	if err != nil {
		return nil, fmt.Errorf("generating a key: %w", err)
	}
	template := certTemplate(hosts)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate back: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key: %w", err)
	}
	defer clear(private)
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	defer clear(text)
	if err := writePrivate(creds.keyFile, text); err != nil {
		return nil, err
	}
	return leaf, writePrivate(creds.certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func (k KeyType) generate() (crypto.Signer, error) {
	if k == ECDSAP384 {
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	}
	return rsa.GenerateKey(rand.Reader, rsaBits)
}

// certTemplate is a certificate of a server that can sign no others. The serial number
// is made by CreateCertificate.
func certTemplate(hosts []string) *x509.Certificate {
	now := time.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "atrest internal Vault"},
		NotBefore:             now.Add(-certLead),
		NotAfter:              now.Add(certLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return template
}
