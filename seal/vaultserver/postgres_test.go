//go:build unix

package vaultserver

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend/postgres"
	"github.com/atrest/atrest/internal/devpostgres"
	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5/pgxpool"
)

// initialise initialises Vault with one key, unseals it, waits until it is active, and
// returns the key.
func initialise(t *testing.T, s *Server) string {
	t.Helper()
	client, err := s.Client()
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Sys().InitWithContext(t.Context(), &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	unseal(t, s, answer.KeysB64[0])
	waitFor(t, "an active Vault", func() bool { return health(t, s) == http.StatusOK })
	return answer.KeysB64[0]
}

func unseal(t *testing.T, s *Server, key string) {
	t.Helper()
	client, err := s.Client()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Sys().UnsealWithContext(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

// TestPostgres runs two nodes on one database, whose tables the migrations have made. One
// is active and holds the lock; when it is
// stopped, the other takes over, and steps down when it can't renew the lock in time.
func TestPostgres(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	connection := devpostgres.StartForTest(t).URL()
	pool, err := pgxpool.New(ctx, connection)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	records, err := postgres.NewRecords(ctx, postgres.RecordsConfig{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	databaseURL, err := url.Parse(connection)
	if err != nil {
		t.Fatal(err)
	}
	query := databaseURL.Query()
	query.Set("application_name", "vault")
	query.Set("statement_timeout", "1000")
	databaseURL.RawQuery = query.Encode()
	node := func() (*Server, *logBook) {
		c, log := testConfig(t, func(c *Config) { c.Storage = PostgresTables(databaseURL.String(), records.VaultTables(), 5) })
		return startForTest(t, c), log
	}
	first, log := node()
	second, secondLog := node()
	key := initialise(t, first)
	unseal(t, second, key)
	waitFor(t, "a standby", func() bool { return health(t, second) == http.StatusTooManyRequests })
	var holder string
	if err := pool.QueryRow(ctx, "SELECT ha_value FROM atrest.vault_ha_locks WHERE valid_until > now()").Scan(&holder); err != nil || holder == "" {
		t.Errorf("the lock is held by %q: %v", holder, err)
	}
	if got := health(t, first); got != http.StatusOK {
		t.Errorf("the first answers %d", got)
	}
	checkSessions(t, pool)
	checkLeader(t, second, first.Addr())
	// A clean stop gives up the lock, so that the other need not wait until it is over.
	if err := first.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the standby to take over", func() bool { return health(t, second) == http.StatusOK })
	checkTimeout(t, pool, secondLog)
	checkNoPassword(t, connection, log.String()+secondLog.String())
}

// checkSessions requires that Vault's sessions keep to the budget.
func checkSessions(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	var sessions int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vault'`).Scan(&sessions); err != nil {
		t.Fatal(err)
	}
	if sessions < 2 || sessions > 2*5 {
		t.Errorf("two Vaults have %d sessions", sessions)
	}
}

// checkTimeout keeps Vault from renewing its lock, which must then fail in the database,
// so that it steps down.
func checkTimeout(t *testing.T, pool *pgxpool.Pool, log *logBook) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if _, err := tx.Exec(t.Context(), "LOCK TABLE atrest.vault_ha_locks"); err != nil {
		t.Fatal(err)
	}
	log.await(t, "leadership lost")
}

// checkLeader requires that the standby knows where the active node is.
func checkLeader(t *testing.T, standby *Server, want string) {
	t.Helper()
	client, err := standby.Client()
	if err != nil {
		t.Fatal(err)
	}
	leader, err := client.Sys().LeaderWithContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if leader.LeaderAddress != want || leader.IsSelf {
		t.Errorf("the leader is %q, want %q", leader.LeaderAddress, want)
	}
}

func checkNoPassword(t *testing.T, connection, text string) {
	t.Helper()
	u, err := url.Parse(connection)
	if err != nil {
		t.Fatal(err)
	}
	password, ok := u.User.Password()
	if !ok || password == "" {
		t.Fatal("the test's database has no password")
	}
	if strings.Contains(text, password) {
		t.Errorf("the password is in:\n%s", text)
	}
}

func TestPostgresUnreachable(t *testing.T) {
	t.Parallel()
	for name, connection := range map[string]string{
		"nobody there": "postgres://u:hunter2hunter2@127.0.0.1:1/x",
		"not parsed":   "postgres://u:hunter2hunter2@127.0.0.1:1/x?connect_timeout=hunter2hunter2",
	} {
		log, err := startInVainLogged(t, "trying again", func(c *Config) { c.Storage = Postgres(connection, nil, 0) })
		if !errors.Is(err, atrest.ErrVaultUnavailable) || !strings.Contains(err.Error(), "postgres") {
			t.Errorf("%s: the error does not say why: %v", name, err)
		}
		checkNoPassword(t, connection, err.Error()+log)
	}
}

// TestPasswordIsInTheFileOnly looks at what any user may see of the process.
func TestPasswordIsInTheFileOnly(t *testing.T) {
	t.Parallel()
	seen := t.TempDir() + "/seen"
	startInVain(t, "trying again", func(c *Config) {
		c.Binary = script(t, `(echo "$@"; env) > `+seen+`; exit 1`)
		c.Storage = Postgres("postgres://u:hunter2hunter2@127.0.0.1:1/x", nil, 0)
	})
	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "-config=") || strings.Contains(string(text), "hunter2") || strings.Contains(string(text), "hostile") {
		t.Errorf("arguments and environment:\n%s", text)
	}
}
