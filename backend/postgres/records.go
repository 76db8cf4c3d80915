package postgres

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A RecordsConfig says where the records are.
type RecordsConfig struct {
	// Pool has the connections to use, as [Config.Pool] says. It must allow three at
	// least: each lock that is held or waited for keeps one, and two are always
	// left for everything else. So N-2 locks at once is what a pool of N allows one
	// Records; further ones wait for those.
	Pool *pgxpool.Pool

	// Schema is where the tables are; empty means "atrest". They are made and updated together
	// with those of a [Store], and either may be opened first.
	Schema string

	// SkipMigrations says that tables are only to be checked, see [Config.SkipMigrations].
	SkipMigrations bool

	// PlaintextHosts are the hosts, beside this machine, to which the pool may
	// connect without TLS: names, or IP addresses, without ports.
	PlaintextHosts []string

	// Logger gets warnings about rows that are no records. Nil discards them.
	Logger *slog.Logger
}

// Records keeps small records in a table. It implements [backend.Records] and is safe
// for concurrent use, by any number of goroutines and, each with Records of its own, of
// processes. It holds nothing that needs to be closed, locks excepted.
//
// Every change is committed durably on the server, with synchronous_commit at least "on",
// whatever is set for the session, the role or the database.
type Records struct {
	store *Store // for its connections; its settle looks for records, see openRecords
	sql   recordStatements
	locks chan struct{} // has room for as many as may be held or waited for at once

	pingEvery, pingTime time.Duration // see there
}

var _ backend.Records = (*Records)(nil)

// NewRecords opens the records in cfg.Schema, making or updating the tables if need be. Any
// number of processes may do so at once. It returns the errors of [New].
func NewRecords(ctx context.Context, cfg RecordsConfig) (*Records, error) {
	r, err := openRecords(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("postgres: open records: %w", err)
	}
	return r, nil
}

func openRecords(ctx context.Context, cfg RecordsConfig) (*Records, error) {
	if cfg.Pool == nil {
		return nil, errors.New("RecordsConfig.Pool is nil")
	}
	connections := cfg.Pool.Config().MaxConns
	if connections < 3 {
		return nil, fmt.Errorf("the pool allows %d connections only; a lock keeps one, and a change under it needs others: set pool_max_conns to 3 or more", connections)
	}
	s, err := open(ctx, Config(cfg))
	if err != nil {
		return nil, err
	}
	s.sql.current = currentRecordSQL.in(s.schema) // what settle looks for
	return &Records{
		store:     s,
		sql:       newRecordStatements(s.schema),
		locks:     make(chan struct{}, connections-2),
		pingEvery: pingEvery,
		pingTime:  pingTime,
	}, nil
}

// GetRecord implements [backend.Records].
func (r *Records) GetRecord(ctx context.Context, name string) (_ backend.Record, err error) {
	defer annotate(&err, "get record", name)
	if err := checkRecordCall(ctx, backend.CheckRecordName(name)); err != nil {
		return backend.Record{}, err
	}
	var id contentID
	var sum, data []byte
	found := false
	_, err = r.store.do(ctx, r.sql.get, func(rows pgx.Rows) error {
		found = false
		for rows.Next() {
			found = true
			if err := rows.Scan(&id, &sum, &data); err != nil {
				return err
			}
		}
		return nil
	}, name)
	switch {
	case err != nil:
		return backend.Record{}, err
	case !found:
		return backend.Record{}, atrest.ErrNotFound
	case len(data) == 0 || len(data) > backend.MaxRecord || subtle.ConstantTimeCompare(sum, recordSum(name, id, data)) != 1:
		return backend.Record{}, fmt.Errorf("%w: the row is not what was written as this record", atrest.ErrTampered)
	}
	return backend.Record{Data: data, Revision: revisionOf(id)}, nil
}

// PutRecord implements [backend.Records] with one statement. If the connection ends before
// the server has answered, it looks for what it has put, for 2 seconds, before it returns
// ErrUnavailable.
func (r *Records) PutRecord(ctx context.Context, name string, data []byte, old backend.Revision) (_ backend.Revision, err error) {
	defer annotate(&err, "put record", name)
	if err := checkRecordCall(ctx, backend.CheckRecord(name, data)); err != nil {
		return "", err
	}
	id := newContentID()
	st, args, refusal := r.sql.create, []any{name, id, recordSum(name, id, data), data}, atrest.ErrExists
	if old != "" {
		st, args, refusal = r.sql.replace, append(args, contentIDOf(backend.Version(old))), atrest.ErrConflict
	}
	affected, err := r.store.do(ctx, st, noRows, args...)
	if err == nil && affected == 0 {
		return "", refusal
	}
	if err := r.store.settle(ctx, name, id, err); err != nil {
		return "", err
	}
	return revisionOf(id), nil
}

// DeleteRecord implements [backend.Records].
func (r *Records) DeleteRecord(ctx context.Context, name string, old backend.Revision) (err error) {
	defer annotate(&err, "delete record", name)
	if err := checkRecordCall(ctx, backend.CheckRecordRevision(name, old)); err != nil {
		return err
	}
	err = r.deleteRevision(ctx, name, contentIDOf(backend.Version(old)))
	if _, lost := errors.AsType[*lostAnswer](err); lost {
		// A revision does not come back, so this can do no harm, and tells what was done.
		if err = r.deleteRevision(ctx, name, contentIDOf(backend.Version(old))); err == nil {
			err = r.awaitStandby(ctx) // which a deletion that found nothing to do has not
		}
	}
	return err
}

func (r *Records) awaitStandby(ctx context.Context) error {
	conn, err := r.store.acquire(ctx)
	if err != nil {
		return describe(ctx, err)
	}
	defer conn.Release()
	return describe(ctx, awaitStandby(ctx, conn.Conn()))
}

// deleteRevision has the reasons of [Store.deleteVersion].
func (r *Records) deleteRevision(ctx context.Context, name string, id contentID) error {
	for range tries {
		var deleted int64
		var found *contentID
		_, err := r.store.do(ctx, r.sql.delete, func(rows pgx.Rows) error {
			found = nil
			return into(&deleted, &found)(rows)
		}, name, id)
		switch {
		case err != nil:
			return err
		case deleted > 0 || found == nil:
			return nil
		case *found != id:
			return atrest.ErrConflict
		}
	}
	return fmt.Errorf("%w: the row stays: a trigger, a rule or a policy of the table records that is not ours keeps it", atrest.ErrPermission)
}

// ListRecords implements [backend.Records]. It holds no connection while the consumer
// has a name. Rows that are called like no record are logged and passed over.
func (r *Records) ListRecords(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		fail := func(err error) {
			annotate(&err, "list records", prefix)
			yield("", err)
		}
		if err := backend.CheckRecordPrefix(prefix); err != nil {
			fail(err)
			return
		}
		for cursor, more := "", true; more; {
			page, err := r.listPage(ctx, prefix, cursor)
			if err != nil {
				fail(err)
				return
			}
			for _, name := range page {
				if err := ctx.Err(); err != nil {
					fail(err)
					return
				}
				if r.isRecord(ctx, name) && !yield(name, nil) {
					return
				}
				cursor = name
			}
			more = len(page) == listPage
		}
	}
}

func (r *Records) listPage(ctx context.Context, prefix, cursor string) (page []string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	_, err = r.store.do(ctx, r.sql.list, func(rows pgx.Rows) (err error) {
		page, err = pgx.AppendRows(page[:0], rows, pgx.RowTo[string])
		return err
	}, prefix, cursor, endOf(prefix))
	return page, err
}

// isRecord is always true unless somebody has dropped the table's constraint.
func (r *Records) isRecord(ctx context.Context, name string) bool {
	err := backend.CheckRecordName(name)
	if err != nil {
		r.store.log.WarnContext(ctx, "postgres: a row that is no record was passed over", "schema", r.store.schema, "name", name, "error", err)
	}
	return err == nil
}

// recordSum is the sum of a row. It is against accidents, and rows that are
// put in place of another: who can write the table can also make the sum.
func recordSum(name string, id contentID, data []byte) []byte {
	h := sha256.New()
	h.Write([]byte(name))
	h.Write([]byte{0})
	h.Write(id[:])
	h.Write(data)
	return h.Sum(nil)
}

func revisionOf(id contentID) backend.Revision { return backend.Revision(versionOf(id)) }

// checkRecordCall returns the first of what is wrong with the arguments and with ctx.
func checkRecordCall(ctx context.Context, check error) error {
	if check != nil {
		return check
	}
	return ctx.Err()
}

// recordStatements are those of one Records.
type recordStatements struct {
	get, create, replace, delete, list *statement
}

func newRecordStatements(schema string) recordStatements {
	return recordStatements{
		get:     getRecordSQL.in(schema),
		create:  createRecordSQL.in(schema),
		replace: replaceRecordSQL.in(schema),
		delete:  deleteRecordSQL.in(schema),
		list:    listRecordsSQL.in(schema),
	}
}

// durably is a query that a change reads from, so that the transaction, which the statement
// is by itself, waits at its end for the disk, and for a synchronous standby if there
// is one. A role or a database may have been told not to, for the sake of speed. The effect
// ends with the transaction, as it must behind a pooler.
const durably = `durable AS (
    SELECT set_config('synchronous_commit',
        CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true))`

var (
	currentRecordSQL = statement{`SELECT revision FROM @schema@.records WHERE name = $1`, []uint32{pgtype.TextOID}, false}

	// One byte more than allowed, so that too many are noticed, and no more than that are sent.
	getRecordSQL = statement{fmt.Sprintf(`
SELECT revision, sum, substring(data FROM 1 FOR %d) FROM @schema@.records WHERE name = $1`, backend.MaxRecord+1),
		[]uint32{pgtype.TextOID}, false}

	createRecordSQL = statement{`
WITH ` + durably + `
INSERT INTO @schema@.records (name, revision, sum, data)
SELECT $1::text, $2::uuid, $3::bytea, $4::bytea FROM durable
ON CONFLICT (name) DO NOTHING`,
		[]uint32{pgtype.TextOID, pgtype.UUIDOID, pgtype.ByteaOID, pgtype.ByteaOID}, true}

	// Where another transaction has the row, it waits for that to end and then looks at the
	// row again, so that one wins, and each of the others affects no row.
	replaceRecordSQL = statement{`
WITH ` + durably + `
UPDATE @schema@.records SET revision = $2, sum = $3, data = $4, updated = now()
FROM durable WHERE name = $1 AND revision = $5`,
		[]uint32{pgtype.TextOID, pgtype.UUIDOID, pgtype.ByteaOID, pgtype.ByteaOID, pgtype.UUIDOID}, true}

	deleteRecordSQL = statement{`
WITH ` + durably + `, deleted AS (
    DELETE FROM @schema@.records USING durable WHERE name = $1 AND revision = $2 RETURNING 1
)
SELECT (SELECT count(*) FROM deleted), (SELECT revision FROM @schema@.records WHERE name = $1)`,
		[]uint32{pgtype.TextOID, pgtype.UUIDOID}, true}

	listRecordsSQL = statement{fmt.Sprintf(`
SELECT name FROM @schema@.records WHERE name >= $1 AND name > $2 AND name < $3 ORDER BY name LIMIT %d`, listPage),
		[]uint32{pgtype.TextOID, pgtype.TextOID, pgtype.TextOID}, false}
)
