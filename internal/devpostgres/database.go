package devpostgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
)

// maxName is the length in bytes from which on PostgreSQL cuts identifiers off
// (NAMEDATALEN - 1).
const maxName = 63

// Database creates a new, empty database and returns its URL. What it is called
// begins with name, as far as its characters are letters and digits, and differs
// from one call to the next.
func (s *Server) Database(ctx context.Context, name string) (string, error) {
	made, err := s.database(ctx, name)
	if err != nil {
		return "", fmt.Errorf("devpostgres: creating a database for %q: %w", name, err)
	}
	return made, nil
}

func (s *Server) database(ctx context.Context, name string) (string, error) {
	unique := "_" + strings.ToLower(rand.Text()[:10])
	name = plain(name)
	name = name[:min(len(name), maxName-len(unique))] + unique
	if err := execute(ctx, s.admin, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return "", err
	}
	if s.cluster == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.created = append(s.created, name)
	}
	return withDatabase(s.admin, name).String(), nil
}

// plain replaces what a name in PostgreSQL would have to be quoted for.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(name))
}

// createOwnersDatabase makes the database that [Server.URL] names.
func (s *Server) createOwnersDatabase(ctx context.Context) error {
	if err := execute(ctx, withDatabase(s.admin, "postgres"), "CREATE DATABASE "+owner); err != nil {
		return fmt.Errorf("creating the database %s: %w", owner, err)
	}
	return nil
}

// dropCreated removes what we made on a server that is not ours.
func (s *Server) dropCreated() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var err error
	for _, name := range s.created {
		err = errors.Join(err, execute(ctx, s.admin, "DROP DATABASE "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)"))
	}
	return err
}

// execute runs one statement on a connection of its own.
func execute(ctx context.Context, at *url.URL, sql string) error {
	conn, err := pgx.Connect(ctx, at.String())
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// withDatabase is the URL of another database on the same server.
func withDatabase(u *url.URL, name string) *url.URL {
	other := *u
	other.Path = "/" + name
	return &other
}
