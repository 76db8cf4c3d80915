//go:build unix

package vaultserver

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestGeneratedTLS serves with each type of key, and a second time with the same one.
func TestGeneratedTLS(t *testing.T) {
	t.Parallel()
	for name, generated := range map[string]TLS{"RSA 4096 by default": nil, "ECDSA P-384": GeneratedTLS{KeyType: ECDSAP384}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := testConfig(t, func(c *Config) { c.TLS = generated })
			first := startForTest(t, c)
			if got := health(t, first); got != http.StatusNotImplemented {
				t.Errorf("health = %d", got)
			}
			if !strings.HasPrefix(first.Addr(), "https://") {
				t.Errorf("address %s", first.Addr())
			}
			checkUntrusted(t, first)
			leaf, text := readCert(t, first.CertFile())
			algorithm, bits := x509.RSA, 0
			if generated != nil {
				algorithm = x509.ECDSA
			} else if key, ok := leaf.PublicKey.(interface{ Size() int }); ok {
				bits = key.Size() * 8
			}
			if leaf.PublicKeyAlgorithm != algorithm || generated == nil && bits != 4096 || leaf.IsCA {
				t.Errorf("certificate of %v with %d bits, CA %t", leaf.PublicKeyAlgorithm, bits, leaf.IsCA)
			}
			if got := mode(t, filepath.Join(c.Dir, keyFile)); got != 0o600 {
				t.Errorf("the key has mode %v", got)
			}
			if err := first.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			second := startForTest(t, c)
			if _, again := readCert(t, second.CertFile()); again != text {
				t.Error("the second start made another certificate")
			}
			if got := health(t, second); got != http.StatusNotImplemented {
				t.Errorf("health = %d", got)
			}
		})
	}
}

// checkUntrusted requires that a client that trusts others only does not speak to the
// server.
func checkUntrusted(t *testing.T, s *Server) {
	t.Helper()
	other := httptest.NewUnstartedServer(nil)
	other.Config.ErrorLog = log.New(io.Discard, "", 0)
	other.StartTLS()
	defer other.Close()
	resp, err := other.Client().Get(s.Addr() + "/v1/sys/health")
	if err == nil {
		resp.Body.Close()
		t.Fatal("a client that trusts others only was served")
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
		t.Errorf("error = %v", err)
	}
	ours := http.Client{Transport: s.transport}
	if resp, err := ours.Get(other.URL); err == nil {
		resp.Body.Close()
		t.Error("our client speaks to others")
	}
}

func readCert(t *testing.T, file string) (*x509.Certificate, string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("%s is not PEM", file)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return leaf, string(text)
}

// TestRenewal checks what makes a new certificate, without a server.
func TestRenewal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p384 := GeneratedTLS{KeyType: ECDSAP384}
	serial := func(g GeneratedTLS, hosts ...string) string {
		t.Helper()
		if _, err := g.prepare(dir, append(hosts, "localhost", "127.0.0.1")); err != nil {
			t.Fatal(err)
		}
		leaf, _ := readCert(t, filepath.Join(dir, certFile))
		for _, host := range hosts {
			if err := leaf.VerifyHostname(host); err != nil {
				t.Error(err)
			}
		}
		return leaf.SerialNumber.String()
	}
	last := serial(p384)
	if again := serial(p384); again != last {
		t.Error("the same configuration makes another certificate")
	}
	changed := func(why, now string) {
		t.Helper()
		if now == last {
			t.Errorf("the certificate stays though %s", why)
		}
		last = now
	}
	changed("there is another host", serial(p384, "vault.example"))
	if again := serial(p384); again != last {
		t.Error("a certificate for more hosts was thrown away")
	}
	// A key of another certificate, as after a death between the two writes.
	other := t.TempDir()
	if _, err := p384.prepare(other, []string{"localhost"}); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(other, keyFile), filepath.Join(dir, keyFile)); err != nil {
		t.Fatal(err)
	}
	changed("the key is another", serial(p384))
	if err := os.WriteFile(filepath.Join(dir, certFile), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	changed("it was damaged", serial(p384))
	creds, err := p384.prepare(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (GeneratedTLS{KeyType: RSA4096}).load(creds, nil); err == nil {
		t.Error("a key of another type is taken")
	}
	leaf, _ := readCert(t, filepath.Join(dir, certFile))
	if left := time.Until(leaf.NotAfter); left < certLife-time.Minute || left > certLife {
		t.Errorf("valid for %v", left)
	}
}

func TestTLSFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	creds, err := GeneratedTLS{KeyType: ECDSAP384}.prepare(dir, []string{"vault.example", "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	files := TLSFiles{CertFile: creds.certFile, KeyFile: creds.keyFile, ServerName: "vault.example"}
	withCA := files
	withCA.CAFile = creds.certFile
	for name, files := range map[string]TLSFiles{"pinned": files, "with CA": withCA} {
		c, _ := testConfig(t, func(c *Config) { c.TLS = files })
		s := startForTest(t, c)
		if got := health(t, s); got != http.StatusNotImplemented {
			t.Errorf("%s: health = %d", name, got)
		}
		checkUntrusted(t, s)
	}
	// The name must be that of the certificate.
	files.ServerName = "other.example"
	err = startInVain(t, "bad certificate", func(c *Config) { c.TLS = files })
	if _, ok := errors.AsType[x509.HostnameError](err); !ok {
		t.Errorf("error = %v", err)
	}
}
