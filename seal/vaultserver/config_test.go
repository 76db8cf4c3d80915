//go:build unix

package vaultserver

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestQuoting has a real Vault make a directory whose name would end the string, or be
// evaluated, if it were not quoted.
func TestQuoting(t *testing.T) {
	t.Parallel()
	name := "a\"}\nlistener \"tcp\" {} ${x \"} %{y} \\n \\ $ é \u0085 \u2028 \U000e0001 {{z}} #"
	path := filepath.Join(t.TempDir(), name)
	c, _ := testConfig(t, func(c *Config) { c.Storage = File(path) })
	s := startForTest(t, c)
	initialise(t, s)
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != name {
		t.Errorf("Vault made %q, want %q", entries, name)
	}
}

func TestRender(t *testing.T) {
	t.Parallel()
	c := Config{
		Storage:  Postgres("postgres://u:p@localhost/x?statement_timeout=1", map[string]string{"table": "t", "ha_enabled": "true"}, 8),
		LogLevel: "info", MaxLeaseTTL: 36 * time.Hour, DefaultLeaseTTL: time.Millisecond,
	}
	text, err := render(c, addresses{"l:1", "c:2", "", "https://a", "https://c"}, &credentials{certFile: "/c", keyFile: "/k"})
	if err != nil {
		t.Fatal(err)
	}
	want := `storage "postgresql" {
connection_url = "postgres://u:p@localhost/x?connect_timeout=10&statement_timeout=1"
ha_enabled = "true"
max_idle_connections = "2"
max_parallel = "8"
table = "t"
transaction_max_parallel = "4"
}
listener "tcp" {
address = "l:1"
cluster_address = "c:2"
tls_cert_file = "/c"
tls_key_file = "/k"
}
api_addr = "https://a"
cluster_addr = "https://c"
disable_mlock = true
log_level = "info"
default_lease_ttl = "1s"
max_lease_ttl = "129600s"
`
	if text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

// TestRenderForOpenBao is about what package seal needs of its listener.
func TestRenderForOpenBao(t *testing.T) {
	t.Parallel()
	for binary, want := range map[string]bool{"/usr/bin/bao": true, "/usr/bin/vault": false, "/opt/bao/vault": false} {
		c := Config{Binary: binary, Storage: InMemory(), LogLevel: "info"}
		text, err := render(c, addresses{listen: "l:1"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, listener, _ := strings.Cut(text, "listener \"tcp\" {\n")
		listener, _, _ = strings.Cut(listener, "}\n")
		for _, line := range []string{"disable_unauthed_rekey_endpoints = false\n", "disable_unauthed_generate_root_endpoints = false\n"} {
			if strings.Contains(listener, line) != want {
				t.Errorf("%s: want %t for %q:\n%s", binary, want, line, text)
			}
		}
	}
}

func TestPostgresDefaults(t *testing.T) {
	t.Parallel()
	got := Postgres("postgresql://localhost/x?sslmode=require", nil, 0).spec().settings
	for name, want := range map[string]string{
		"connection_url": "postgresql://localhost/x?connect_timeout=10&sslmode=require&statement_timeout=10000",
		"ha_enabled":     "true", "max_parallel": "16", "max_idle_connections": "4", "transaction_max_parallel": "8",
	} {
		if got[name] != want {
			t.Errorf("%s = %q, want %q", name, got[name], want)
		}
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		c    Config
		want addresses
	}{
		"fixed": {Config{Address: "127.0.0.1:8200"}, addresses{
			"127.0.0.1:8200", "127.0.0.1:8201", "https://127.0.0.1:8200", "https://127.0.0.1:8200", "https://127.0.0.1:8201",
		}},
		"plaintext": {Config{Address: "[::1]:8200", TLS: NoTLS{}}, addresses{
			"[::1]:8200", "[::1]:8201", "http://[::1]:8200", "http://[::1]:8200", "https://[::1]:8201",
		}},
		"all": {Config{Address: "0.0.0.0:1", ClusterAddress: ":2", APIURL: "https://a:3/", ClusterURL: "https://c:4"}, addresses{
			"0.0.0.0:1", ":2", "https://127.0.0.1:1", "https://a:3", "https://c:4",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			test.c.Storage = Postgres("postgres://localhost/x", nil, 0)
			got, err := choose(test.c)
			if err != nil || got != test.want {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

// TestNothingSecretIsPrinted tries all that prints values.
func TestNothingSecretIsPrinted(t *testing.T) {
	t.Parallel()
	const secret = `hun/"ter2`
	storage := Postgres(`postgres://u:hun%2F%22ter2@localhost/x`, nil, 0)
	c, _ := testConfig(t, func(c *Config) { c.Storage = storage })
	s := &Server{c: c}
	type holder struct {
		storage Storage
		config  Config
		server  *Server
	}
	var printed strings.Builder
	log := slog.New(slog.NewJSONHandler(&printed, nil))
	log.Info("x", "storage", storage, "config", c, "server", s)
	for _, v := range []any{storage, &storage, c, &c, s, holder{storage, c, s}, []any{storage, c}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
			fmt.Fprintf(&printed, verb+"\n", v)
		}
	}
	for _, v := range []any{storage, struct{ S Storage }{storage}} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		printed.Write(text)
	}
	for _, part := range []string{"ter2", fmt.Sprintf("%x", "ter2")} {
		if strings.Contains(printed.String(), part) {
			t.Errorf("%q is printed:\n%s", part, printed.String())
		}
	}
	redact := newRedacter(storage)
	for _, spelled := range []string{secret, `hun%2F%22ter2`, `hun/\"ter2`, storage.spec().settings["connection_url"]} {
		if got := redact.Replace("<" + spelled + ">"); got != "<[redacted]>" {
			t.Errorf("%q becomes %q", spelled, got)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	got := environment([]string{"PATH=/bin", "VAULT_PG_CONNECTION_URL=x", "BAO_ADDR=x", "ATREST_INSTANCE_KEY=x", "PGHOST=x", "AWS_SECRET_ACCESS_KEY=x", "HOME=/h", "VAULT_LOG_LEVEL=trace", "HTTPS_PROXY=x"})
	if want := []string{"PATH=/bin", "HOME=/h"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestClient checks that it has nothing from the environment.
func TestClient(t *testing.T) {
	t.Parallel()
	s := &Server{at: addresses{local: "http://127.0.0.1:1"}, transport: newTransport(nil)}
	client, err := s.Client()
	if err != nil {
		t.Fatal(err)
	}
	if client.Address() != s.Addr() || client.Token() != "" || client.Namespace() != "" || client.Headers().Get("hostile") != "" || client.MaxRetries() != 0 {
		t.Errorf("a client of %s with token %q, namespace %q, headers %v", client.Address(), client.Token(), client.Namespace(), client.Headers())
	}
}

// TestRestartEndsTheWait checks that nobody who asks for a restart has to wait with the
// supervisor.
func TestRestartEndsTheWait(t *testing.T) {
	t.Parallel()
	s := &Server{restarts: make(chan struct{}, 1)}
	s.restarts <- struct{}{}
	if begin := time.Now(); !s.pause(t.Context(), time.Hour) || time.Since(begin) > time.Minute {
		t.Error("the wait was not cut short")
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	var b backoff
	want := backoffMin
	for range 12 {
		if got := b.next(); got > want || got < want/2 {
			t.Errorf("a wait of %v, want at most %v and half of it at least", got, want)
		}
		want = min(2*want, backoffMax)
	}
	if want != backoffMax {
		t.Errorf("the longest wait is %v", want)
	}
	b.ended(backoffReset - 1)
	if got := b.next(); got < backoffMax/2 {
		t.Errorf("a short life leads to a wait of %v", got)
	}
	b.ended(backoffReset)
	if got := b.next(); got > backoffMin {
		t.Errorf("a long life leads to a wait of %v", got)
	}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	var log logBook
	o := newOutput(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: levelTrace})), strings.NewReplacer())
	for _, line := range []string{
		"2026-01-02T03:04:05.678Z [TRACE] core: t", "2026-01-02T03:04:05.678+0100 [DEBUG] core: d", "2026-01-02T03:04:05.678Z [INFO]  core: i",
		"2026-01-02T03:04:05.678Z [WARN]  core: w", "2026-01-02T03:04:05.678Z [ERROR] core: e", "", "panic: p", "==> OpenBao server started! Log data",
	} {
		fmt.Fprintln(o, line)
	}
	for _, parts := range [][]string{
		{"level=DEBUG-4", `"core: t"`}, {"level=DEBUG ", `"core: d"`}, {"level=INFO", `"core: i"`},
		{"level=WARN", `"core: w"`}, {"level=ERROR", `"core: e"`}, {"level=INFO", `"panic: p"`, "component=vault"},
	} {
		log.await(t, parts...)
	}
	if !ended(o.started) || strings.Count(log.String(), "\n") != 7 {
		t.Errorf("started %t, log:\n%s", ended(o.started), log.String())
	}
}
