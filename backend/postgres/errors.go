package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/atrest/atrest"
	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATEs with a meaning of their own here (PostgreSQL, appendix A).
const (
	codeSerialization     = "40001"
	codeDeadlock          = "40P01"
	codeUndefinedTable    = "42P01"
	codeInvalidSchema     = "3F000"
	codeMissingDatabase   = "3D000"
	codePassword          = "28P01"
	codeAuthorization     = "28000"
	codePrivilege         = "42501"
	codeReadOnly          = "25006"
	codeDiskFull          = "53100"
	codeConnections       = "53300"
	codeNoStatement       = "26000"
	codeDuplicate         = "42P05"
	codeCanceled          = "57014"
	codeLockTimeout       = "55P03"
	codeIdleInTransaction = "25P03"
	codeTransactionTime   = "25P04"
)

// describe adds the error of package atrest that callers branch on, and the remedy, to
// what went wrong between here and the server. If ctx has ended, its error
// can be found too, since that is then the cause.
func describe(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return err
	}
	lost, isLost := errors.AsType[*lostAnswer](err)
	switch {
	case isLost && ctx.Err() != nil: // both, or it would look as if nothing was changed
		return fmt.Errorf("%w: %w: %w", atrest.ErrUnavailable, ctx.Err(), lost)
	case isLost:
		return fmt.Errorf("%w: %w", atrest.ErrUnavailable, lost)
	case ctx.Err() != nil:
		return fmt.Errorf("%w (%s)", ctx.Err(), err)
	}
	if connect, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return describeConnect(connect, err)
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return describeServer(pgErr.Code, err)
	}
	if isConnectionError(err) {
		// Not wrapped: this may be an io.EOF, which to a reader is no error at all.
		return fmt.Errorf("%w: %s", atrest.ErrUnavailable, err)
	}
	return err
}

// describeServer is describe for what the server itself has said.
func describeServer(code string, err error) error {
	remedy, sentinel := classify(code)
	switch {
	case sentinel == nil:
		return err
	case remedy == "":
		return fmt.Errorf("%w: %w", sentinel, err)
	}
	return fmt.Errorf("%w: %w; %s", sentinel, err, remedy)
}

// classify finds the error that stands for a SQLSTATE, by its code or else its class.
func classify(code string) (remedy string, sentinel error) {
	switch code {
	case codePassword:
		return "there is no such role, or this is not its password: look at both in the connection string", atrest.ErrPermission
	case codeAuthorization:
		return "look at the role and sslmode in the connection string, and at pg_hba.conf on the server", atrest.ErrPermission
	case codeConnections:
		return "let fewer be made (pool_max_conns in the connection string), or raise max_connections of the server, or the limit of the role or database", atrest.ErrUnavailable
	case codePrivilege:
		return "give the role what Grants returns, or RecordsGrants for the records of a seal", atrest.ErrPermission
	case codeReadOnly:
		return "the server is a standby, or default_transaction_read_only is set for the server, the database or the role", atrest.ErrPermission
	case codeMissingDatabase:
		return "create the database, or correct its name in the connection string", atrest.ErrStorageMissing
	case codeUndefinedTable, codeInvalidSchema:
		return "run the scripts that Migrations returns, or let New do so", atrest.ErrStorageMissing
	case codeDiskFull:
		return "after a deletion, space is free once the table was vacuumed", atrest.ErrStorageFull
	case codeNoStatement, codeDuplicate:
		return "a pooler in transaction mode keeps no prepared statements: add default_query_exec_mode=exec to the connection string", atrest.ErrUnsupported
	case codeCanceled, codeLockTimeout, codeIdleInTransaction, codeTransactionTime, codeSerialization, codeDeadlock:
		return "", atrest.ErrUnavailable
	}
	switch class := code[:min(2, len(code))]; {
	case class == "28":
		return "", atrest.ErrPermission
	case class == "08", class == "53", strings.HasPrefix(code, "57P"):
		return "", atrest.ErrUnavailable
	}
	return "", nil
}

// isConnectionError reports whether err means that the server has gone away.
func isConnectionError(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		pgconn.SafeToRetry(err)
}

// annotate adds the operation and the name to an error, once.
func annotate(err *error, op, name string) {
	if *err != nil {
		*err = fmt.Errorf("postgres: %s %.100q: %w", op, name, *err)
	}
}
