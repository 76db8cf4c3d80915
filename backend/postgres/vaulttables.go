package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/atrest/atrest"
	"github.com/jackc/pgx/v5"
)

// The names of Vault's tables, which are those of HashiCorp's documentation. Vault
// takes a name as one identifier, so that none can say the schema.
const (
	vaultTable   = "vault_kv_store"
	vaultHATable = "vault_ha_locks"
)

// maxVaultRows is how many paths are listed at most. A Vault that has just been
// initialised has some thirty.
const maxVaultRows = 1000

// VaultTables are the tables that an internal Vault keeps its data in, in the schema of
// the [Records] that are about it. See [Records.VaultTables].
type VaultTables struct {
	store *Store
}

// VaultTables returns the tables in which Vault keeps its data. They are there, since the
// records are.
func (r *Records) VaultTables() *VaultTables { return &VaultTables{r.store} }

// Settings returns what belongs into the block storage "postgresql" of Vault's
// configuration beside connection_url: table and ha_table, and skip_create_table, with
// which OpenBao does not try to make tables. Vault ignores the latter.
func (v *VaultTables) Settings() map[string]string {
	return map[string]string{"table": vaultTable, "ha_table": vaultHATable, "skip_create_table": "true"}
}

// ConnectionURL returns a connection URL for Vault, given one that begins with postgres://
// or postgresql://: with the search_path in which Vault finds its tables; with
// synchronous_commit=on if it says nothing of that, because a transit key that Vault has used,
// and the database then loses, takes with it what was encrypted; and without
// parameters that only the pool here understands and that the server would
// refuse. It must lead to PostgreSQL itself, as Vault uses prepared statements, and a
// pooler may not pass search_path on. The URL may hold a password. The error does not.
func (v *VaultTables) ConnectionURL(connection string) (string, error) {
	u, err := url.Parse(connection)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return "", errors.New("postgres: the connection string for Vault is not a URL that begins with postgres:// or postgresql://")
	}
	query := u.Query()
	for name := range query {
		if strings.HasPrefix(name, "pool_") {
			query.Del(name)
		}
	}
	for _, name := range []string{"default_query_exec_mode", "statement_cache_capacity", "description_cache_capacity"} {
		query.Del(name)
	}
	query.Set("search_path", quote(v.store.schema))
	if !query.Has("synchronous_commit") {
		query.Set("synchronous_commit", "on")
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// Empty reports whether Vault has no data at all, so that it is not initialised.
func (v *VaultTables) Empty(ctx context.Context) (bool, error) {
	empty := false
	_, err := v.store.do(ctx, vaultEmptySQL.in(v.store.schema), into(&empty))
	if err != nil {
		return false, fmt.Errorf("postgres: look for data of Vault: %w", err)
	}
	return empty, nil
}

// Rows returns the paths at which Vault has data, such as "core/keyring", in bytewise
// order. Vault encrypts what is there, but not the paths. More than 1,000 are
// ErrTooLarge: so many has no Vault that is new.
func (v *VaultTables) Rows(ctx context.Context) ([]string, error) {
	var paths []string
	_, err := v.store.do(ctx, vaultRowsSQL.in(v.store.schema), readPaths(&paths))
	if err == nil {
		err = checkCount(paths)
	}
	if err != nil {
		return nil, fmt.Errorf("postgres: list what Vault has: %w", err)
	}
	return paths, nil
}

func readPaths(paths *[]string) func(pgx.Rows) error {
	return func(rows pgx.Rows) (err error) {
		*paths, err = pgx.AppendRows((*paths)[:0], rows, pgx.RowTo[string])
		return err
	}
}

func checkCount(paths []string) error {
	if len(paths) > maxVaultRows {
		return fmt.Errorf("%w: there are more than %d paths", atrest.ErrTooLarge, maxVaultRows)
	}
	return nil
}

// Wipe removes all of Vault's data, for good, if expected says so of the paths that there are.
// What it sees is what is removed: from before expected is called until the end nobody else reads
// or writes the tables, so it should decide at once, and call nothing that asks Vault. If
// it returns false, or a Vault is the active node of a cluster at the time (then it holds a lock
// in the database), nothing is removed and the error is ErrConflict.
//
// A Vault that runs keeps in memory that it is initialised: restart it afterwards.
//
// Wipe waits 10 seconds for others who use the tables, then it fails with
// ErrUnavailable. After an error of unknown outcome it may be repeated; expected is then
// called with no path if the first attempt succeeded.
func (v *VaultTables) Wipe(ctx context.Context, expected func(paths []string) bool) error {
	if err := v.wipe(ctx, expected); err != nil {
		return fmt.Errorf("postgres: wipe Vault's data: %w", describe(ctx, err))
	}
	return nil
}

func (v *VaultTables) wipe(ctx context.Context, expected func([]string) bool) (err error) {
	conn, err := v.store.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release() // which ends the transaction if expected panics
	c := conn.Conn()
	if err := begin(ctx, c); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			rollback(c)
		}
	}()
	// The snapshots of the statements after it are taken once the lock is granted.
	if err := execScript(ctx, c, inSchema(v.store.schema, vaultLockSQL)); err != nil {
		return err
	}
	active := false
	if _, err := v.store.query(ctx, c, vaultActiveSQL.in(v.store.schema), into(&active)); err != nil {
		return err
	}
	if active {
		return fmt.Errorf("%w: a Vault is active on it; stop it, and wait 15 seconds if it was killed", atrest.ErrConflict)
	}
	var paths []string
	if _, err := v.store.query(ctx, c, vaultRowsSQL.in(v.store.schema), readPaths(&paths)); err != nil {
		return err
	}
	if err := checkCount(paths); err != nil {
		return err
	}
	if !expected(paths) {
		return fmt.Errorf("%w: Vault has other data than is expected", atrest.ErrConflict)
	}
	if err := execScript(ctx, c, inSchema(v.store.schema, vaultDeleteSQL)); err != nil {
		return err
	}
	return commit(ctx, c)
}

const (
	vaultLockSQL = `
SET LOCAL lock_timeout = '10s';
SET LOCAL statement_timeout = 0;
LOCK TABLE @schema@.vault_kv_store, @schema@.vault_ha_locks IN ACCESS EXCLUSIVE MODE`

	// DELETE, and not TRUNCATE, for which a role needs another right.
	vaultDeleteSQL = `DELETE FROM @schema@.vault_kv_store; DELETE FROM @schema@.vault_ha_locks`
)

var (
	vaultEmptySQL = statement{`SELECT NOT EXISTS (SELECT FROM @schema@.vault_kv_store)`, nil, false}

	// The path of a row begins with a slash, which Vault itself has put there.
	vaultRowsSQL = statement{fmt.Sprintf(`
SELECT ltrim(path, '/') || key FROM @schema@.vault_kv_store ORDER BY 1 LIMIT %d`, maxVaultRows+1), nil, false}

	vaultActiveSQL = statement{`
SELECT EXISTS (SELECT FROM @schema@.vault_ha_locks WHERE valid_until >= clock_timestamp())`, nil, false}
)
