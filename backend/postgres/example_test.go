package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/postgres"
	"github.com/jackc/pgx/v5/pgxpool"
)

func ExampleNew() {
	if err := openStore(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func openStore(ctx context.Context) error {
	pool, err := pgxpool.New(ctx, "postgres://app@db.example/app"+
		"?sslmode=verify-full&sslrootcert=/etc/atrest/db-ca.pem&pool_max_conns=16")
	if err != nil {
		return err
	}
	defer pool.Close()
	blobs, err := postgres.New(ctx, postgres.Config{Pool: pool})
	if err != nil {
		return err
	}
	return blobs.Delete(ctx, "old", backend.Condition{})
}

// Where the program's role may not make tables, an administrator does, with what
// this prints:
//
//	go run . | psql -X -v ON_ERROR_STOP=1 "$ADMIN_URL"
func ExampleMigrations() {
	if err := printSetUp(os.Stdout, "atrest", "app"); err != nil {
		log.Fatal(err)
	}
}

// printSetUp writes a script that makes the tables and lets a role use them.
func printSetUp(w io.Writer, schema, role string) error {
	migrations, err := postgres.Migrations(schema)
	if err != nil {
		return err
	}
	for _, m := range migrations {
		fmt.Fprintf(w, "-- Version %d\n%s\n", m.Version, m.SQL)
	}
	grants, err := postgres.Grants(schema, role)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, grants)
	return err
}

// TestReadmeCode: the Go code in README.md is that of this file, which compiles.
func TestReadmeCode(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	this, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	has := make(map[string]bool)
	for line := range strings.Lines(string(this)) {
		has[strings.TrimSpace(line)] = true
	}
	blocks := strings.Split(string(readme), "```go\n")[1:]
	if len(blocks) != 2 {
		t.Errorf("README.md has %d blocks of code", len(blocks))
	}
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		for line := range strings.Lines(block) {
			if line = strings.TrimSpace(line); !has[line] {
				t.Errorf("this file does not have the line %q", line)
			}
		}
	}
}

// TestSetUpWithPsql is what ExampleMigrations says: psql runs the script, and after it the
// role can work. Run again, the script fails at once.
func TestSetUpWithPsql(t *testing.T) {
	t.Parallel()
	const schema, role, password = "Set-up", "set-up role", "of the role"
	at, err := postgres.Server().Database(t.Context(), "psql")
	if err != nil {
		t.Fatal(err)
	}
	var script bytes.Buffer
	if err := printSetUp(&script, schema, role); err != nil {
		t.Fatal(err)
	}
	psql(t, at, `CREATE ROLE "`+role+`" LOGIN PASSWORD '`+password+`'`)
	defer psql(t, at, `DROP OWNED BY "`+role+`"; DROP ROLE "`+role+`"`)
	psql(t, at, script.String())
	if out, err := runPsql(context.Background(), t, at, script.String()); err == nil || !strings.Contains(out, "already exists") {
		t.Errorf("the script can be run again: %v\n%s", err, out)
	}
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, password)
	pool, err := pgxpool.New(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	s, err := postgres.New(t.Context(), postgres.Config{Pool: pool, Schema: schema, SkipMigrations: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "name", nil, strings.NewReader("body"), backend.Condition{}); err != nil {
		t.Error(err)
	}
	if err := s.Delete(t.Context(), "name", backend.Condition{}); err != nil {
		t.Error(err)
	}
}

func psql(t *testing.T, at, script string) {
	t.Helper()
	if out, err := runPsql(context.Background(), t, at, script); err != nil {
		t.Fatalf("psql: %v\n%s", err, out)
	}
}

// runPsql runs a script as the README says, and returns what psql printed.
func runPsql(ctx context.Context, t *testing.T, at, script string) (out string, err error) {
	t.Helper()
	program := "psql"
	if dir := os.Getenv("ATREST_TEST_POSTGRES_BIN"); dir != "" {
		program = filepath.Join(dir, program)
	}
	if program, err = exec.LookPath(program); err != nil {
		t.Fatalf("psql, one of PostgreSQL's client programs, is needed: %v", err)
	}
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal("the URL of the database can't be parsed") // the error would show it
	}
	password, _ := u.User.Password()
	u.User = url.User(u.User.Username())
	cmd := exec.CommandContext(ctx, program, "-X", "-v", "ON_ERROR_STOP=1", u.String())
	cmd.Env = append(os.Environ(), "PGPASSWORD="+password)
	cmd.Stdin = strings.NewReader(script)
	printed, err := cmd.CombinedOutput()
	return string(printed), err
}
