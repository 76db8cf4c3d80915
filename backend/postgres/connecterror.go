package postgres

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/atrest/atrest"
	"github.com/jackc/pgx/v5/pgconn"
)

// refusedTLS is how pgconn says that the server has answered "N" to SSLRequest
// (PostgreSQL, "SSL Session Encryption"). It has no error of its own for that.
const refusedTLS = "server refused TLS connection"

// describeConnect is describe for a connection that could not be made. What
// trying again won't cure is not ErrUnavailable. err is what wraps the other.
func describeConnect(connect *pgconn.ConnectError, err error) error {
	if pgErr, ok := errors.AsType[*pgconn.PgError](connect); ok {
		if pgErr.Code == codePrivilege {
			return fmt.Errorf("%w: %w; grant the role CONNECT on the database", atrest.ErrPermission, err)
		}
		return describeServer(pgErr.Code, err)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](connect); ok {
		return fmt.Errorf("%w; sslrootcert in the connection string names the file of the certificate authority, and the host there must be one that the certificate is for", err)
	}
	if strings.Contains(connect.Error(), refusedTLS) {
		return fmt.Errorf("%w: %w; set ssl = on in postgresql.conf there, or, for a server on this machine or among Config.PlaintextHosts, sslmode=disable in the connection string",
			atrest.ErrUnsupported, err)
	}
	// Not wrapped, as in describe.
	return fmt.Errorf("%w: %s; is the server running, and are its host and port those of the connection string?", atrest.ErrUnavailable, err)
}
