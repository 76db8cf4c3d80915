package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/devvault"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A vault is a real Vault that keeps its data in the tables under test.
type vault struct {
	addr, token, key string
	stop             func()
}

// startVault starts a Vault on the tables. With ha it can be one of a cluster.
func startVault(t *testing.T, tables *VaultTables, connection string, ha bool) *vault {
	t.Helper()
	binary, err := devvault.Binary()
	if err != nil {
		t.Fatal(err)
	}
	// The port is free a moment later as well, as a rule.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	connection, err = tables.ConnectionURL(connection)
	if err != nil {
		t.Fatal(err)
	}
	var settings strings.Builder
	for name, value := range tables.Settings() {
		fmt.Fprintf(&settings, "  %s = %q\n", name, value)
	}
	file := filepath.Join(t.TempDir(), "vault.hcl")
	text := fmt.Sprintf("storage \"postgresql\" {\n  connection_url = %q\n  ha_enabled = %q\n  max_parallel = 4\n%s}\nlistener \"tcp\" {\n  address = %q\n  tls_disable = true\n}\napi_addr = %q\ndisable_mlock = true\n",
		connection, fmt.Sprint(ha), settings.String(), address, "http://"+address)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(binary, "server", "-config="+file)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "VAULT_") })
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	v := &vault{addr: "http://" + address, stop: sync.OnceFunc(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // however it ends
		kill.Stop()
	})}
	t.Cleanup(v.stop)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, err := v.call("GET", "sys/seal-status", nil); err == nil {
			return v
		}
		if time.Now().After(deadline) {
			v.stop()
			t.Fatalf("Vault did not start:\n%s", out.String())
		}
	}
}

// call makes one request.
func (v *vault) call(method, path string, body any) (map[string]any, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(method, v.addr+"/v1/"+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Vault-Token", v.token)
	req.Header.Set("X-Vault-Request", "true")
	req.Close = true // leave no connection, and no goroutine
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s: %s (%v)", method, path, resp.Status, answer, err)
	}
	var fields map[string]any
	if len(answer) > 0 {
		err = json.Unmarshal(answer, &fields)
	}
	return fields, err
}

func (v *vault) mustCall(t *testing.T, method, path string, body any) map[string]any {
	t.Helper()
	answer, err := v.call(method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// init initialises Vault.
func (v *vault) init(t *testing.T) {
	t.Helper()
	answer := v.mustCall(t, "PUT", "sys/init", map[string]int{"secret_shares": 1, "secret_threshold": 1})
	v.token, v.key = answer["root_token"].(string), answer["keys_base64"].([]any)[0].(string)
}

// unseal unseals Vault and waits until it is active.
func (v *vault) unseal(t *testing.T) {
	t.Helper()
	v.mustCall(t, "PUT", "sys/unseal", map[string]string{"key": v.key})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		_, err := v.call("GET", "sys/health", nil)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// rows are the paths at present.
func rows(t *testing.T, tables *VaultTables) []string {
	t.Helper()
	paths, err := tables.Rows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	empty, err := tables.Empty(t.Context())
	if err != nil || empty != (len(paths) == 0) {
		t.Errorf("Empty says %v (%v) of %q", empty, err, paths)
	}
	return paths
}

// vaultRole makes a role for Vault that has what VaultGrants returns and no more.
func vaultRole(t *testing.T, admin *pgxpool.Pool, at, schema string) (roleURL string) {
	t.Helper()
	role, roleURL := newRole(t, admin, at)
	grant(t, admin, VaultGrants, schema, role)
	var denied []string
	for _, sql := range []string{
		"SELECT FROM @schema@.records", "DELETE FROM @schema@.records", "SELECT FROM @schema@.objects", "SELECT FROM @schema@.schema_version",
		"CREATE TABLE @schema@.t (i int)", "TRUNCATE @schema@.vault_kv_store", "DROP TABLE @schema@.vault_kv_store",
	} {
		denied = append(denied, inSchema(schema, sql))
	}
	refused(t, newPool(t, roleURL), denied...)
	return roleURL
}

// TestVault has a real Vault work on the tables, as a role with the least rights, and looks at
// which paths there are at each stage of its life.
func TestVault(t *testing.T) {
	t.Run("alone", func(t *testing.T) { t.Parallel(); testVault(t, "atrest", false) })
	t.Run("in a cluster", func(t *testing.T) { t.Parallel(); testVault(t, "An-Odd_Schema", true) })
}

func testVault(t *testing.T, schema string, ha bool) {
	at := newDatabase(t)
	pool := newPool(t, at)
	tables := openRecordsIn(t, RecordsConfig{Pool: pool, Schema: schema}).VaultTables()
	connection := vaultRole(t, pool, at, schema)
	stage := func(what string, wantData bool) []string {
		t.Helper()
		paths := rows(t, tables)
		show(t, fmt.Sprintf("Vault %s: %s", t.Name(), what), paths)
		if hasData := !onlyInitialised(paths); hasData != wantData {
			t.Errorf("%s: there are data: %v, of %q", what, hasData, paths)
		}
		return paths
	}
	v := startVault(t, tables, connection, ha)
	if paths := stage("started, not initialised", false); len(paths) != 0 {
		t.Errorf("at first there are %q", paths)
	}
	v.init(t)
	initialised := stage("sys/init done, never unsealed", false)
	v.stop()
	if paths := stage("the same, stopped", false); !slices.Equal(paths, initialised) {
		t.Errorf("then there are %q, not %q", paths, initialised)
	}
	v = v.restart(t, tables, connection, ha)
	v.unseal(t)
	time.Sleep(2 * time.Second) // for what Vault does of its own accord
	stage("unsealed once, nothing asked of it", ha)
	v.mustCall(t, "POST", "sys/mounts/transit", map[string]string{"type": "transit"})
	stage("transit mounted, no key", ha)
	if ha {
		err := tables.Wipe(t.Context(), func([]string) bool { return true })
		if !errors.Is(err, atrest.ErrConflict) || !strings.Contains(err.Error(), "active") {
			t.Errorf("wiping under an active Vault: %v", err)
		}
	}
	v.mustCall(t, "POST", "transit/keys/key", map[string]bool{"derived": true})
	stage("one transit key", true)
	v.mustCall(t, "PUT", "sys/policies/acl/app", map[string]string{"policy": `path "transit/*" { capabilities = ["update"] }`})
	v.mustCall(t, "POST", "sys/auth/approle", map[string]string{"type": "approle"})
	v.mustCall(t, "POST", "auth/approle/role/app", map[string]string{"policies": "app"})
	stage("a policy and an AppRole", true)
	v.mustCall(t, "POST", "auth/token/revoke-self", nil)
	stage("the root token revoked", true)
	v.stop()
	before := stage("the same, stopped", true)

	err := tables.Wipe(t.Context(), func(paths []string) bool {
		if !slices.Equal(paths, before) {
			t.Errorf("asked about %q, not %q", paths, before)
		}
		return onlyInitialised(paths)
	})
	if !errors.Is(err, atrest.ErrConflict) || !slices.Equal(rows(t, tables), before) {
		t.Errorf("wiping what is not expected: %v", err)
	}
	if err := tables.Wipe(t.Context(), func([]string) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if paths := rows(t, tables); len(paths) != 0 {
		t.Errorf("after the wipe there are %q", paths)
	}
	v = startVault(t, tables, connection, ha)
	v.init(t)
	v.unseal(t)
}

// restart starts a Vault on the data of v, which has been stopped.
func (v *vault) restart(t *testing.T, tables *VaultTables, connection string, ha bool) *vault {
	t.Helper()
	next := startVault(t, tables, connection, ha)
	next.token, next.key = v.token, v.key
	return next
}

// freshPaths are those of a Vault 1.13 that was initialised and not used since. Any may be
// missing, where sys/init was interrupted. The identifiers are those of one mount, of the
// built-in identity engine, and of the one root token.
var freshPaths = regexp.MustCompile(`^(core/(audit|auth|cluster/feature-flags|cluster/local/info|hsm/barrier-unseal-keys|index-header-hmac-key|keyring|local-audit|local-auth|local-mounts|master|mounts|seal-config|shamir-kek|versions/[0-9.]+|wrapping/jwtkey)` +
	`|logical/[0-9a-f-]{36}/(casesensitivity|oidc_provider/assignment/allow_all|oidc_provider/provider/default|oidc_tokens/named_keys/default|oidc_tokens/public_keys/[0-9a-f-]{36})` +
	`|sys/(policy/(control-group|default|response-wrapping)|token/accessor/[0-9a-f]{40}|token/id/h[0-9a-f]{64}|token/salt))$`)

// onlyInitialised is a rule that tells by the paths alone that Vault has no data: none but
// freshPaths, one mount with anything in it, and one token.
func onlyInitialised(paths []string) bool {
	mounts, tokens := map[string]bool{}, 0
	for _, path := range paths {
		if !freshPaths.MatchString(path) {
			return false
		}
		if mount, ok := strings.CutPrefix(path, "logical/"); ok {
			mounts[mount[:36]] = true
		}
		if strings.HasPrefix(path, "sys/token/id/") {
			tokens++
		}
	}
	return len(mounts) <= 1 && tokens <= 1
}

// TestVaultTables looks at the tables without a Vault.
func TestVaultTables(t *testing.T) {
	t.Parallel()
	r := newRecords(t, newPool(t, server.URL()))
	tables := r.VaultTables()
	execSQL(t, r.store, `INSERT INTO @schema@.vault_kv_store VALUES ('', '/', 'top', ''), ('/', '/core/', 'b', ''), ('/', '/core/', 'a', NULL)`)
	want := []string{"core/a", "core/b", "top"}
	if paths := rows(t, tables); !slices.Equal(paths, want) {
		t.Errorf("found %q", paths)
	}
	all := func([]string) bool { return true }

	// While Wipe asks, nobody else can look, or write.
	err := tables.Wipe(t.Context(), func(paths []string) bool {
		for _, table := range []string{vaultTable, vaultHATable} {
			_, err := r.store.pool.Exec(t.Context(), inSchema(r.store.schema, "BEGIN; SET LOCAL lock_timeout = 100; SELECT FROM @schema@."+table), pgx.QueryExecModeSimpleProtocol)
			if !isCode(err, codeLockTimeout) {
				t.Errorf("%s during a wipe: %v", table, err)
			}
		}
		return false
	})
	if !errors.Is(err, atrest.ErrConflict) {
		t.Errorf("a wipe that was called off: %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = tables.Wipe(t.Context(), func([]string) bool { panic("no") })
	}()
	if paths := rows(t, tables); !slices.Equal(paths, want) {
		t.Errorf("after wipes that were called off there are %q", paths)
	}
	if n := r.store.pool.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections are still in use", n)
	}

	// A lock that has run out is none.
	execSQL(t, r.store, `INSERT INTO @schema@.vault_ha_locks VALUES ('core/lock', 'i', 'v', now() + interval '1 minute')`)
	if err := tables.Wipe(t.Context(), all); !errors.Is(err, atrest.ErrConflict) {
		t.Errorf("a wipe under an active Vault: %v", err)
	}
	execSQL(t, r.store, `UPDATE @schema@.vault_ha_locks SET valid_until = now() - interval '1 second'`)
	if err := tables.Wipe(t.Context(), all); err != nil {
		t.Error(err)
	}
	if paths := rows(t, tables); len(paths) != 0 {
		t.Errorf("after the wipe there are %q", paths)
	}

	// Many, and then one more.
	execSQL(t, r.store, fmt.Sprintf(`INSERT INTO @schema@.vault_kv_store SELECT '/', '/a/', i, '' FROM generate_series(1, %d) i`, maxVaultRows))
	if paths := rows(t, tables); len(paths) != maxVaultRows {
		t.Errorf("there are %d paths", len(paths))
	}
	execSQL(t, r.store, `INSERT INTO @schema@.vault_kv_store VALUES ('/', '/a/', 'more', '')`)
	if _, err := tables.Rows(t.Context()); !errors.Is(err, atrest.ErrTooLarge) {
		t.Errorf("too many paths: %v", err)
	}
	if err := tables.Wipe(t.Context(), all); !errors.Is(err, atrest.ErrTooLarge) {
		t.Errorf("a wipe of too many: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, rowsErr := tables.Rows(ctx)
	_, emptyErr := tables.Empty(ctx)
	for _, err := range []error{rowsErr, emptyErr, tables.Wipe(ctx, all)} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
	}
	if empty, err := tables.Empty(t.Context()); empty || err != nil {
		t.Error("they were wiped all the same", err)
	}
}

// TestVaultTablesBusy has somebody else use a table for long.
func TestVaultTablesBusy(t *testing.T) {
	t.Parallel()
	r := newRecords(t, newPool(t, server.URL()))
	tx, err := r.store.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	if _, err := tx.Exec(t.Context(), inSchema(r.store.schema, "SELECT FROM @schema@.vault_ha_locks")); err != nil {
		t.Fatal(err)
	}
	if err := r.VaultTables().Wipe(t.Context(), func([]string) bool { return true }); !errors.Is(err, atrest.ErrUnavailable) {
		t.Errorf("a wipe while somebody reads: %v", err)
	}
}

func TestVaultConnectionURL(t *testing.T) {
	t.Parallel()
	tables := &VaultTables{&Store{schema: "A-b"}}
	for in, want := range map[string]string{
		"postgres://u:p%40w@h:5/d":                       "postgres://u:p%40w@h:5/d?search_path=%22A-b%22&synchronous_commit=on",
		"postgresql://h/d?sslmode=verify-full":           "postgresql://h/d?search_path=%22A-b%22&sslmode=verify-full&synchronous_commit=on",
		"postgres://h/d?search_path=x&pool_max_conns=16": "postgres://h/d?search_path=%22A-b%22&synchronous_commit=on",
		"postgres://h/d?synchronous_commit=remote_apply": "postgres://h/d?search_path=%22A-b%22&synchronous_commit=remote_apply",
		"postgres://h/d?pool_max_conn_lifetime=1h&default_query_exec_mode=exec&statement_cache_capacity=1&connect_timeout=5": "postgres://h/d?connect_timeout=5&search_path=%22A-b%22&synchronous_commit=on",
	} {
		if got, err := tables.ConnectionURL(in); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "host=h password=secret", "mysql://u:secret@h/d", "postgres://u:secret@h:port/d", "postgres://u:secret%zz@h/d", "//u:secret@h"} {
		if got, err := tables.ConnectionURL(in); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
}

func show(t *testing.T, what string, paths []string) {
	if name := os.Getenv("SHOW_PATHS"); name != "" {
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		fmt.Fprintf(f, "== %s: %d\n%s\n\n", what, len(paths), strings.Join(paths, "\n"))
	}
}
