package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// A statement is SQL with the types of its parameters, in which @schema@ stands for the
// quoted name of the schema.
type statement struct {
	sql     string
	params  []uint32 // OIDs of pgtype
	changes bool     // the outcome must be known
}

// in returns the statement for one schema.
func (st statement) in(schema string) *statement {
	st.sql = inSchema(schema, st.sql)
	return &st
}

// statements are those of one store.
type statements struct {
	schemaVersion, schemaExists         *statement
	put, putIfAbsent, putIfVersion      *statement
	putBatch, putBatchIfAbsent          *statement
	copy, copyIfAbsent, copyIfVersion   *statement
	get, getBatch, page, current        *statement
	setHeader, setHeaders, delete, list *statement
	deleteIfVersion                     *statement
	copyChunks                          string
}

func newStatements(schema string) statements {
	return statements{
		schemaVersion: schemaVersionSQL.in(schema),
		schemaExists:  schemaExistsSQL.in(schema),
		put:           putSQL.in(schema),
		putIfAbsent:   putIfAbsentSQL.in(schema),
		putIfVersion:  putIfVersionSQL.in(schema),

		putBatch:         putBatchSQL.in(schema),
		putBatchIfAbsent: putBatchIfAbsentSQL.in(schema),

		copy:            copySQL(anyTarget).in(schema),
		copyIfAbsent:    copySQL(absentTarget).in(schema),
		copyIfVersion:   copySQL(versionTarget).in(schema),
		get:             getSQL.in(schema),
		getBatch:        getBatchSQL.in(schema),
		page:            pageSQL.in(schema),
		current:         currentSQL.in(schema),
		setHeader:       setHeaderSQL.in(schema),
		setHeaders:      setHeadersSQL.in(schema),
		delete:          deleteSQL.in(schema),
		deleteIfVersion: deleteIfVersionSQL.in(schema),
		list:            listSQL.in(schema),
		copyChunks:      inSchema(schema, copyChunksSQL),
	}
}

// query carries out one statement in one round trip, lets read have its rows,
// and returns how many rows were affected. Columns come in binary.
//
// In pgx's default mode the statement is prepared on the connection when it is
// first used there. In every other mode, which is to say where a pooler may
// hand the connection to somebody else, it is sent unnamed and nothing
// stays behind. Mode "exec" of pgx itself would do the same, but with all values in
// text, which doubles a bytea.
func (s *Store) query(ctx context.Context, conn *pgx.Conn, st *statement, read func(pgx.Rows) error, args ...any) (int64, error) {
	rows, err := s.rows(ctx, conn, st, args)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	if err := read(rows); err != nil {
		return 0, err
	}
	rows.Close()
	return rows.CommandTag().RowsAffected(), rows.Err()
}

// noRows is the read of statements that return none.
func noRows(pgx.Rows) error { return nil }

// into is the read of statements that return one row at most, whose columns go
// there.
func into(columns ...any) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		for rows.Next() {
			if err := rows.Scan(columns...); err != nil {
				return err
			}
		}
		return nil
	}
}

func (s *Store) rows(ctx context.Context, conn *pgx.Conn, st *statement, args []any) (pgx.Rows, error) {
	if len(args) > 0 {
		if _, ok := args[0].(column); ok {
			knowColumns(conn)
		}
	}
	if s.mode == pgx.QueryExecModeCacheStatement {
		return conn.Query(ctx, st.sql, args...)
	}
	var builder pgx.ExtendedQueryBuilder
	if err := builder.Build(conn.TypeMap(), &pgconn.StatementDescription{ParamOIDs: st.params}, args); err != nil {
		return nil, err
	}
	result := conn.PgConn().ExecParams(ctx, st.sql, builder.ParamValues, st.params, builder.ParamFormats, []int16{pgtype.BinaryFormatCode})
	return pgx.RowsFromResultReader(conn.TypeMap(), result), nil
}

// tries is how often a statement is tried that the server aborts because of
// others. Each time at least one of the others got on.
const tries = 10

// do carries out one statement that is a transaction by itself, on any
// connection. It tries again what the server gave up because of a deadlock or of
// the isolation level, neither of which is the caller's affair. It then calls read
// again, which must forget what it has read before.
func (s *Store) do(ctx context.Context, st *statement, read func(pgx.Rows) error, args ...any) (affected int64, err error) {
	for try := range tries {
		if affected, err = s.doOnce(ctx, st, read, args, try > 0); !isCode(err, codeSerialization, codeDeadlock) {
			break
		}
		if wait(ctx, time.Duration(rand.Int64N(int64(time.Millisecond)<<try))) != nil {
			break
		}
	}
	return affected, describe(ctx, err)
}

// doOnce may open a transaction of its own, which costs two more round trips, to have
// the isolation level of which it is sure. READ COMMITTED is the default unless the
// database or the role is set to another.
func (s *Store) doOnce(ctx context.Context, st *statement, read func(pgx.Rows) error, args []any, isolate bool) (affected int64, err error) {
	conn, err := s.acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	if st.changes && !isolate {
		err = change(ctx, conn.Conn(), func(ctx context.Context) (err error) {
			affected, err = s.query(ctx, conn.Conn(), st, read, args...)
			return err
		})
		return affected, err
	}
	if !isolate {
		return s.query(ctx, conn.Conn(), st, read, args...)
	}
	if err := begin(ctx, conn.Conn()); err != nil {
		return 0, err
	}
	if affected, err = s.query(ctx, conn.Conn(), st, read, args...); err != nil {
		rollback(conn.Conn())
		return 0, err
	}
	return affected, commit(ctx, conn.Conn())
}

// begin starts a transaction in which a statement sees what was committed before
// it, and a change to a row waits for those in progress and then looks at it again.
func begin(ctx context.Context, conn *pgx.Conn) error {
	return execScript(ctx, conn, "BEGIN ISOLATION LEVEL READ COMMITTED")
}

// commit looks at the answer: to a COMMIT of a transaction that has failed the
// server says ROLLBACK, and that is no error to it.
func commit(ctx context.Context, conn *pgx.Conn) error {
	return change(ctx, conn, func(ctx context.Context) error {
		results, err := conn.PgConn().Exec(ctx, "COMMIT").ReadAll()
		if err != nil {
			return err
		}
		if len(results) != 1 || results[0].CommandTag.String() != "COMMIT" {
			return errors.New("the transaction was not committed")
		}
		return nil
	})
}

// rollbackTime is how long the server has to answer a ROLLBACK before the
// connection is closed instead, which comes to the same.
const rollbackTime = 2 * time.Second

// rollback may fail: the pool closes connections that are in a transaction when they are
// released, and the server then rolls back.
func rollback(conn *pgx.Conn) {
	if conn.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTime)
	defer cancel()
	_ = execScript(ctx, conn, "ROLLBACK")
}

// wait returns an error if ctx ends first.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
