package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// TestServeTLS runs a server with TLS on a port of the system's choice, finds
// the port in its output, asks for its state and shuts it down.
func TestServeTLS(t *testing.T) {
	cert, key, client := testCertificate(t)
	c := &config{
		Storage:      storageConfig{Type: "inmem"},
		Listener:     listenerConfig{Address: "127.0.0.1:0", TLSCertFile: cert, TLSKeyFile: key},
		DisableMlock: true,
		LogLevel:     hclog.Warn,
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- serve(ctx, c, writer, io.Discard)
		writer.Close() // a pipe's Close never fails
	}()
	response, err := client.Get("https://" + announcedAddress(t, reader) + "/v1/sys/health")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNotImplemented {
		t.Errorf("health = %d, want %d, not initialised", response.StatusCode, http.StatusNotImplemented)
	}
	client.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("shutting down: %v", err)
	}
}

// announcedAddress reads a server's output up to its readiness and returns the
// address that it named.
func announcedAddress(t *testing.T, from io.Reader) string {
	t.Helper()
	var text []byte
	chunk := make([]byte, 1024)
	started := regexp.MustCompile(`(?s)Listener 1: tcp \(addr: "([^"]+)".*==> Vault server started!`)
	for {
		n, err := from.Read(chunk)
		text = append(text, chunk[:n]...)
		if m := started.FindSubmatch(text); m != nil {
			return string(m[1])
		}
		if err != nil {
			t.Fatalf("the server ended: %v; it printed:\n%s", err, text)
		}
	}
}

// testCertificate writes the certificate of a test server to files and returns
// a client that trusts it.
func testCertificate(t *testing.T) (cert, key string, client *http.Client) {
	t.Helper()
	donor := httptest.NewTLSServer(nil)
	t.Cleanup(donor.Close)
	pair := donor.TLS.Certificates[0]
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", pair.Certificate[0]), write("key.pem", "PRIVATE KEY", private), donor.Client()
}

func TestResolveAddresses(t *testing.T) {
	bound := &testAddr{"127.0.0.1:4000"}
	tests := map[string]struct {
		config               config
		api, cluster, listen string
	}{
		"system's port": {
			config{Listener: listenerConfig{Address: "127.0.0.1:0", TLSDisable: true}},
			"http://127.0.0.1:4000", "https://127.0.0.1:0", "127.0.0.1:0",
		},
		"fixed port": {
			config{Listener: listenerConfig{Address: "127.0.0.1:4000"}},
			"https://127.0.0.1:4000", "https://127.0.0.1:4001", "127.0.0.1:4001",
		},
		"all given": {
			config{
				APIAddr: "https://a", ClusterAddr: "https://c",
				Listener: listenerConfig{Address: "127.0.0.1:4000", ClusterAddress: "127.0.0.1:5000"},
			},
			"https://a", "https://c", "127.0.0.1:5000",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			at, err := resolveAddresses(&test.config, bound)
			if err != nil {
				t.Fatal(err)
			}
			if at.api != test.api || at.cluster != test.cluster || at.clusterListen.String() != test.listen {
				t.Errorf("got %+v (cluster listener %v)", at, at.clusterListen)
			}
		})
	}
}

type testAddr struct{ address string }

func (a *testAddr) Network() string { return "tcp" }
func (a *testAddr) String() string  { return a.address }
