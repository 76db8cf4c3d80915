package postgres

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/backendtest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// recordsChild tells a child process of the tests where to take which lock: URL, schema, name.
const recordsChild = "ATREST_POSTGRES_TEST_HOLD"

// A child process has no tests to run, nor a server to start.
func init() {
	if order, ok := os.LookupEnv(recordsChild); ok {
		fmt.Println("the child ends:", holdRecords(context.Background(), strings.Split(order, " ")))
		os.Exit(1)
	}
}

// holdRecords takes a lock and keeps it until the process is killed, or the test is gone.
func holdRecords(ctx context.Context, order []string) error {
	pool, err := pgxpool.New(ctx, order[0])
	if err != nil {
		return err
	}
	r, err := NewRecords(ctx, RecordsConfig{Pool: pool, Schema: order[1]})
	if err != nil {
		return err
	}
	if _, _, err := r.LockRecords(ctx, order[2]); err != nil {
		return err
	}
	fmt.Println("held")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func holdInChild(t *testing.T, r *Records, url, name string) (kill func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^$")
	cmd.Env = append(os.Environ(), recordsChild+"="+url+" "+r.store.schema+" "+name)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		in.Close()
	})
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("the child says %q (%v)", line, err)
	}
	return kill
}

func TestRecordsConformance(t *testing.T) {
	backendtest.RunRecords(t, recordsConformance(func(*testing.T) string { return server.URL() }))
}

// TestRecordsConformanceThroughBouncer has a database for each test, and so connections of
// its own: PgBouncer's few would be used up by the locks of all.
func TestRecordsConformanceThroughBouncer(t *testing.T) {
	bouncer, err := server.StartBouncer(t.Context())
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("PgBouncer is NOT tested:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := bouncer.Stop(); err != nil {
			t.Error(err)
		}
	}()
	cfg := recordsConformance(func(t *testing.T) string {
		direct, err := url.Parse(newDatabase(t))
		if err != nil {
			t.Fatal(err)
		}
		through, err := url.Parse(bouncer.URL())
		if err != nil {
			t.Fatal(err)
		}
		through.Path = direct.Path
		return through.String() + "&default_query_exec_mode=exec"
	})
	cfg.Slow = true
	backendtest.RunRecords(t, cfg)
}

func recordsConformance(urlFor func(*testing.T) string) backendtest.RecordsConfig {
	var urls sync.Map // of the records that were opened
	urlOf := func(r backend.Records) string {
		url, _ := urls.Load(r)
		return url.(string)
	}
	open := func(t *testing.T, url, schema string) *Records {
		// Two locks at once and one that is waited for, in few connections: there are
		// many pools at a time.
		pool := newPool(t, url, func(c *pgxpool.Config) { c.MaxConns = 5 })
		if schema == "" {
			schema = newSchema(t, pool)
		}
		r := openRecordsIn(t, RecordsConfig{Pool: pool, Schema: schema})
		urls.Store(backend.Records(r), url)
		return r
	}
	return backendtest.RecordsConfig{
		Open: func(t *testing.T) backend.Records { return open(t, urlFor(t), "") },
		Reopen: func(t *testing.T, r backend.Records) backend.Records {
			return open(t, urlOf(r), r.(*Records).store.schema)
		},
		Hold: func(t *testing.T, r backend.Records, name string) func() {
			return holdInChild(t, r.(*Records), urlOf(r), name)
		},
		LoseLock: func(t *testing.T, r backend.Records, name string) {
			execSQL(t, r.(*Records).store, fmt.Sprintf(`SELECT pg_terminate_backend(pid) FROM pg_locks
				WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32 | objid::bigint) = %d`, lockKey(r.(*Records).store.schema, name)))
		},
		Damages: []backendtest.Damage{
			damage("Shorter", `UPDATE @schema@.records SET data = substring(data FROM 1 FOR 999) WHERE name = 'record'`),
			damage("Longer", `UPDATE @schema@.records SET data = data || '\x00' WHERE name = 'record'`),
			damage("Bit", `UPDATE @schema@.records SET data = set_bit(data, 7999, 1 - get_bit(data, 7999)) WHERE name = 'record'`),
			damage("Sum", `UPDATE @schema@.records SET sum = set_bit(sum, 0, 1 - get_bit(sum, 0)) WHERE name = 'record'`),
			damage("Revision", `UPDATE @schema@.records SET revision = '0b5aa7f4-0f4e-4d3c-9a44-0a5b5e0d3c11' WHERE name = 'record'`),
			damage("Another record", `UPDATE @schema@.records r SET revision = o.revision, sum = o.sum, data = o.data FROM @schema@.records o WHERE r.name = 'record' AND o.name = 'record2'`),
			damage("Too long", `ALTER TABLE @schema@.records DROP CONSTRAINT records_data_check; UPDATE @schema@.records SET data = convert_to(repeat('x', 1000000), 'UTF8') WHERE name = 'record'`),
			damage("Empty", `ALTER TABLE @schema@.records DROP CONSTRAINT records_data_check; UPDATE @schema@.records SET data = '' WHERE name = 'record'`),
		},
	}
}

func damage(name, sql string) backendtest.Damage {
	return backendtest.Damage{Name: name, Do: func(t *testing.T, r backend.Records, _ string) {
		s := r.(*Records).store
		if _, err := s.pool.Exec(context.Background(), inSchema(s.schema, sql), pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}}
}

func openRecordsIn(t testing.TB, cfg RecordsConfig) *Records {
	t.Helper()
	r, err := NewRecords(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// newRecords opens records in a schema of their own.
func newRecords(t testing.TB, pool *pgxpool.Pool) *Records {
	t.Helper()
	return openRecordsIn(t, RecordsConfig{Pool: pool, Schema: newSchema(t, pool)})
}

// TestRecordsConfig has pools that won't do.
func TestRecordsConfig(t *testing.T) {
	t.Parallel()
	for n := range int32(3) {
		pool := newPool(t, server.URL(), func(c *pgxpool.Config) { c.MaxConns = n + 1 })
		cfg := RecordsConfig{Pool: pool, Schema: newSchema(t, pool)}
		if r, err := NewRecords(t.Context(), cfg); n < 2 && (err == nil || !strings.Contains(err.Error(), "pool_max_conns")) || n == 2 && err != nil {
			t.Errorf("a pool of %d: %v, %v", n+1, r, err)
		}
	}
	if _, err := NewRecords(t.Context(), RecordsConfig{}); err == nil {
		t.Error("no pool at all was taken")
	}
	pool := newPool(t, "postgres://user@db.example/x?sslmode=disable")
	if _, err := NewRecords(t.Context(), RecordsConfig{Pool: pool}); !errors.Is(err, atrest.ErrPlaintextConnection) {
		t.Errorf("plaintext to another machine: %v", err)
	}
}

// TestRecordsSmallPool works under a lock with the least that is allowed, with another caller
// waiting for another lock.
func TestRecordsSmallPool(t *testing.T) {
	t.Parallel()
	r := newRecords(t, newPool(t, server.URL(), func(c *pgxpool.Config) { c.MaxConns = 3 }))
	held, unlock, err := r.LockRecords(t.Context(), "lock")
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error)
	go func() {
		_, unlock, err := r.LockRecords(t.Context(), "another")
		if err == nil {
			unlock()
		}
		second <- err
	}()
	var revision backend.Revision
	for i := range 20 {
		if revision, err = r.PutRecord(held, "record", []byte{byte(i)}, revision); err != nil {
			t.Fatal(err)
		}
	}
	unlock()
	if err := <-second; err != nil {
		t.Error(err)
	}
	if n := r.store.pool.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections are still in use", n)
	}
}

// TestRecordsAreDurable has sessions that are told not to wait for the disk. A trigger
// that runs at the very end of each transaction writes down how it is going to commit.
func TestRecordsAreDurable(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]string{"off": "on", "local": "on", "remote_write": "on", "on": "on", "remote_apply": "remote_apply"} {
		for _, mode := range []string{"exec", "cache_statement"} {
			r := newRecords(t, newPool(t, server.URL()+"&synchronous_commit="+setting+"&default_query_exec_mode="+mode))
			execSQL(t, r.store, `CREATE TABLE @schema@.seen (op text, commit text)`)
			execSQL(t, r.store, `CREATE FUNCTION @schema@.see() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
				INSERT INTO `+quote(r.store.schema)+`.seen VALUES (TG_OP, current_setting('synchronous_commit')); RETURN NULL; END$$`)
			execSQL(t, r.store, `CREATE CONSTRAINT TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON @schema@.records DEFERRABLE INITIALLY DEFERRED
				FOR EACH ROW EXECUTE FUNCTION @schema@.see()`)
			first, err := r.PutRecord(t.Context(), "name", []byte("1"), "")
			if err != nil {
				t.Fatal(err)
			}
			second, err := r.PutRecord(t.Context(), "name", []byte("2"), first)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.DeleteRecord(t.Context(), "name", second); err != nil {
				t.Fatal(err)
			}
			var seen, now string
			row := r.store.pool.QueryRow(t.Context(), inSchema(r.store.schema, `SELECT string_agg(op || ' ' || commit, ', '), current_setting('synchronous_commit') FROM @schema@.seen`))
			if err := row.Scan(&seen, &now); err != nil {
				t.Fatal(err)
			}
			if all := fmt.Sprintf("INSERT %s, UPDATE %[1]s, DELETE %[1]s", want); seen != all || now != setting {
				t.Errorf("with %s, %s: committed as %q, and the session has %q afterwards", setting, mode, seen, now)
			}
		}
	}
}

// TestRecordsLostAnswer ends the connection after a change was made: the call finds out.
func TestRecordsLostAnswer(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"exec", "cache_statement"} {
		for _, when := range []moment{sent, answered} {
			// The text is in the values, or in the statement where it has none to tell.
			creation, replacement, deletion := &cutter{text: "first", when: when}, &cutter{text: "second", when: when}, &cutter{text: "to-delete", when: answered}
			r := newRecords(t, newPool(t, server.URL()))
			open := func(c *cutter) *Records {
				pool := newPool(t, server.URL()+"&default_query_exec_mode="+mode, c.intoPool)
				return openRecordsIn(t, RecordsConfig{Pool: pool, Schema: r.store.schema})
			}
			first, err := open(creation).PutRecord(t.Context(), "name", []byte("first"), "")
			if err != nil {
				t.Fatal(err)
			}
			second, err := open(replacement).PutRecord(t.Context(), "name", []byte("second"), first)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := r.GetRecord(t.Context(), "name"); err != nil || got.Revision != second || string(got.Data) != "second" {
				t.Errorf("found %q of %q, %v", got.Data, got.Revision, err)
			}
			third, err := r.PutRecord(t.Context(), "to-delete", []byte("third"), "")
			if err != nil {
				t.Fatal(err)
			}
			if err := open(deletion).DeleteRecord(t.Context(), "to-delete", third); err != nil {
				t.Error(err)
			}
			if _, err := r.GetRecord(t.Context(), "to-delete"); !errors.Is(err, atrest.ErrNotFound) {
				t.Errorf("after the deletion: %v", err)
			}
			if n := creation.cuts.Load() + replacement.cuts.Load() + deletion.cuts.Load(); n != 3 {
				t.Errorf("%d connections were cut", n)
			}
		}
	}
}

// TestRecordsIsolation races under stricter isolation levels, with no error but the refusal.
func TestRecordsIsolation(t *testing.T) {
	t.Parallel()
	r := newRecords(t, newPool(t, server.URL()+"&default_transaction_isolation=serializable"))
	revision, err := r.PutRecord(t.Context(), "name", []byte("0"), "")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		next := make(chan backend.Revision, 8)
		var wg sync.WaitGroup
		for range cap(next) {
			wg.Go(func() {
				v, err := r.PutRecord(t.Context(), "name", []byte(rand.Text()), revision)
				if err == nil {
					next <- v
				} else if !errors.Is(err, atrest.ErrConflict) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(next) != 1 {
			t.Fatalf("%d have won", len(next))
		}
		revision = <-next
	}
}

// TestRecordsRole does everything as a role that has what RecordsGrants returns and no more.
func TestRecordsRole(t *testing.T) {
	t.Parallel()
	at := newDatabase(t)
	admin := newPool(t, at)
	runMigrations(t, admin, "")
	role, roleURL := newRole(t, admin, at)
	grant(t, admin, RecordsGrants, "", role)
	pool := newPool(t, roleURL)
	for _, skip := range []bool{false, true} {
		r := openRecordsIn(t, RecordsConfig{Pool: pool, SkipMigrations: skip})
		first, err := r.PutRecord(t.Context(), "name", []byte("1"), "")
		if err != nil {
			t.Fatal(err)
		}
		held, unlock, err := r.LockRecords(t.Context(), "lock")
		if err != nil {
			t.Fatal(err)
		}
		second, err := r.PutRecord(held, "name", []byte("2"), first)
		unlock()
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range r.ListRecords(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := r.DeleteRecord(t.Context(), "name", second); err != nil {
			t.Fatal(err)
		}
		if empty, err := r.VaultTables().Empty(t.Context()); err != nil || !empty {
			t.Error(empty, err)
		}
		if err := r.VaultTables().Wipe(t.Context(), func([]string) bool { return true }); err != nil {
			t.Error(err)
		}
	}
	refused(t, pool, "SELECT FROM atrest.objects", "SELECT FROM atrest.chunks", "DROP TABLE atrest.records", "TRUNCATE atrest.records",
		"INSERT INTO atrest.vault_kv_store VALUES ('', '', '', '')", "UPDATE atrest.vault_kv_store SET value = ''", "UPDATE atrest.vault_ha_locks SET ha_value = ''")
}

// grant has the administrator run what grants returns.
func grant(t *testing.T, admin *pgxpool.Pool, grants func(schema, role string) (string, error), schema, role string) {
	t.Helper()
	sql, err := grants(schema, role)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
}

// refused fails the test unless the role lacks the right to each of these.
func refused(t *testing.T, pool *pgxpool.Pool, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := pool.Exec(t.Context(), sql); !isCode(err, codePrivilege) {
			t.Errorf("%s: %v", sql, err)
		}
	}
}
