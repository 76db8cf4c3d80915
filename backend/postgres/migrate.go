package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/atrest/atrest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// prepareSchema sees to it that the tables are of the version that this program
// needs. If they are, that is one query, and no right to change them is needed.
//
// It also looks at the connection that it gets, which is not always what the pool's
// configuration says: pgxpool.Config.BeforeConnect may change that.
func (s *Store) prepareSchema(ctx context.Context, cfg Config) error {
	steps, err := loadSteps(s.schema)
	if err != nil {
		return err
	}
	conn, err := s.acquire(ctx)
	if err != nil {
		return describe(ctx, err)
	}
	defer conn.Release()
	if err := checkEncrypted(conn.Conn().Config(), cfg.PlaintextHosts); err != nil {
		return err
	}
	have, err := s.schemaVersion(ctx, conn.Conn())
	if err != nil {
		return describe(ctx, err)
	}
	if have == len(steps) || have > len(steps) || cfg.SkipMigrations {
		return s.checkVersion(have, len(steps))
	}
	err = s.migrate(ctx, conn.Conn(), steps)
	if isCode(err, codePrivilege) {
		return fmt.Errorf("%w: this role may not make the tables in schema %q: have an administrator run the scripts that Migrations returns and then what Grants returns: %w",
			atrest.ErrPermission, s.schema, err)
	}
	if err != nil {
		return fmt.Errorf("bringing the tables in schema %q from version %d to %d: %w", s.schema, have, len(steps), describe(ctx, err))
	}
	return nil
}

// checkVersion returns an error with the remedy unless have is what is needed.
func (s *Store) checkVersion(have, need int) error {
	switch {
	case have > need:
		return fmt.Errorf("%w: schema %q is of version %d, this program knows up to %d; use a newer program", atrest.ErrSchemaVersion, s.schema, have, need)
	case have == 0:
		return fmt.Errorf("%w: there are no tables of ours in schema %q; run the scripts that Migrations returns, or let New do so", atrest.ErrStorageMissing, s.schema)
	case have < need:
		return fmt.Errorf("%w: schema %q is of version %d, this program needs %d; run the scripts that Migrations returns for the versions in between, or let New do so", atrest.ErrSchemaVersion, s.schema, have, need)
	}
	return nil
}

// schemaVersion returns 0 where there is no table that would tell.
func (s *Store) schemaVersion(ctx context.Context, conn *pgx.Conn) (int, error) {
	version := 0
	_, err := s.query(ctx, conn, s.sql.schemaVersion, into(&version))
	if isCode(err, codeUndefinedTable, codeInvalidSchema) {
		return 0, nil
	}
	return version, err
}

// migrate does what is missing, in one transaction under a lock that ends with it,
// so that of many that start at once one does it and the others find it done. A
// lock of the session would not do: behind a pooler the session is anybody's.
//
// The transaction must be READ COMMITTED. In others the snapshot is taken before
// the lock is granted, and does not show what the one before has done.
func (s *Store) migrate(ctx context.Context, conn *pgx.Conn, steps []string) (err error) {
	if err := begin(ctx, conn); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			rollback(conn)
		}
	}()
	if err := execScript(ctx, conn, fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", migrationLock)); err != nil {
		return err
	}
	have, err := s.versionInside(ctx, conn)
	if err != nil {
		return err
	}
	if have > len(steps) {
		return s.checkVersion(have, len(steps))
	}
	missing := ""
	for i := have; i < len(steps); i++ {
		missing += steps[i] + recordVersion(s.schema, i+1)
	}
	if err := execPatiently(ctx, conn, missing); err != nil {
		return err
	}
	return commit(ctx, conn)
}

// How often a migration is tried that does not get the lock on a table, and the pause after
// each such try. Variables, for tests.
var (
	migrationTries = 5
	migrationPause = 2 * time.Second
)

// execPatiently runs the script of a migration inside of migrate's transaction, and again if
// somebody else has a table locked for longer than the script's lock_timeout.
//
// Whoever comes to the table while the script waits for its lock has to wait too. In the pause
// they all get on, since going back to the savepoint gives up what was locked. But it keeps the
// advisory lock: programs that start at once try one after the other, and
// with the pause after the last try too, the table is free for a while after every try.
func execPatiently(ctx context.Context, conn *pgx.Conn, script string) error {
	// The pause is not to be taken for a transaction that was forgotten.
	err := execScript(ctx, conn, "SET LOCAL idle_in_transaction_session_timeout = 0; SAVEPOINT nothing_done")
	if err != nil {
		return err
	}
	remedy := ""
	for range migrationTries {
		err = execScript(ctx, conn, script)
		if !isCode(err, codeLockTimeout) {
			break
		}
		remedy = "; somebody keeps a table locked, for example pg_dump or a long transaction: start again when that is done"
		if pauseErr := pauseUnlocked(ctx, conn); pauseErr != nil {
			err = pauseErr
			break
		}
	}
	if err != nil {
		return fmt.Errorf("%w%s", err, remedy)
	}
	return nil
}

// pauseUnlocked undoes what the script of a migration has done so far, and then waits.
func pauseUnlocked(ctx context.Context, conn *pgx.Conn) error {
	if err := execScript(ctx, conn, "ROLLBACK TO SAVEPOINT nothing_done"); err != nil {
		return err
	}
	return wait(ctx, migrationPause)
}

// versionInside returns the version of the schema, after making it and the table
// that tells if they are missing. It must not provoke an error to find out, since
// that would end the transaction. A schema that is there is not made again even
// with IF NOT EXISTS, for which PostgreSQL asks for the right to make schemas.
func (s *Store) versionInside(ctx context.Context, conn *pgx.Conn) (int, error) {
	var hasSchema, hasTable bool
	_, err := s.query(ctx, conn, s.sql.schemaExists, into(&hasSchema, &hasTable), s.schema)
	if err != nil {
		return 0, err
	}
	if hasTable {
		return s.schemaVersion(ctx, conn)
	}
	create := versionTable(s.schema)
	if !hasSchema {
		create = "CREATE SCHEMA " + quote(s.schema) + ";" + create
	}
	return 0, execScript(ctx, conn, create)
}

// execScript runs statements that return nothing of interest.
func execScript(ctx context.Context, conn *pgx.Conn, sql string) error {
	return conn.PgConn().Exec(ctx, sql).Close()
}

// isCode reports whether err is the server's, with one of these SQLSTATEs.
func isCode(err error, codes ...string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains(codes, pgErr.Code)
}

var (
	schemaVersionSQL = statement{`SELECT coalesce(max(version), 0) FROM @schema@.schema_version`, nil, false}

	schemaExistsSQL = statement{`
SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1),
       EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = $1 AND c.relname = 'schema_version')`,
		[]uint32{pgtype.TextOID}, false}
)
