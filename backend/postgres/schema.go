package postgres

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

// defaultSchema is used where the configuration names none.
const defaultSchema = "atrest"

// maxIdentifier is NAMEDATALEN-1 of PostgreSQL, which cuts longer identifiers
// off without an error.
const maxIdentifier = 63

// migrationLock is the key of the advisory lock that whoever migrates holds:
// "atrest" in ASCII and a 1. Advisory locks are of one database.
const migrationLock = 0x6174726573740001

//go:embed migrations/*.sql
var migrationFiles embed.FS

// A Migration brings the tables from one version to the next.
type Migration struct {
	// Version is the version of the schema afterwards, counting from 1.
	Version int
	// SQL is a script that does it in one transaction and fails, changing
	// nothing, if it was done before, or if somebody keeps a table locked that it
	// changes: then run it again. It may be run with psql.
	SQL string
}

// Migrations returns all that make a schema of the newest version, in order, to be
// run by an administrator where the role that atrest uses may not create
// tables. Together with [Grants] that is all the set-up there is; Config.SkipMigrations
// says that it has been done. An empty schema is "atrest".
func Migrations(schema string) ([]Migration, error) {
	schema, err := schemaName(schema)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	steps, err := loadSteps(schema)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	var migrations []Migration
	for i, step := range steps {
		var b strings.Builder
		fmt.Fprintf(&b, "BEGIN ISOLATION LEVEL READ COMMITTED;\nSELECT pg_advisory_xact_lock(%d);\n\n", migrationLock)
		if i == 0 {
			fmt.Fprintf(&b, "CREATE SCHEMA IF NOT EXISTS %s;\n\n%s\n", quote(schema), versionTable(schema))
		}
		fmt.Fprintf(&b, "%s\n%s\nCOMMIT;\n", step, recordVersion(schema, i+1))
		migrations = append(migrations, Migration{Version: i + 1, SQL: b.String()})
	}
	return migrations, nil
}

// Grants returns the statements that give a role what a [Store] needs once the
// tables are there, and no more. An empty schema is "atrest". What [Records] need is
// not among it, see [RecordsGrants].
func Grants(schema, role string) (string, error) {
	return grants(schema, role,
		"SELECT ON @schema@.schema_version",
		"SELECT, INSERT, UPDATE, DELETE ON @schema@.objects",
		"SELECT, INSERT, DELETE ON @schema@.chunks")
}

// RecordsGrants is [Grants] for a role that uses [Records] and their [VaultTables]: it may
// change records, and see and remove, but not change, what Vault has. A role that needs both
// gets both.
func RecordsGrants(schema, role string) (string, error) {
	return grants(schema, role,
		"SELECT ON @schema@.schema_version",
		"SELECT, INSERT, UPDATE, DELETE ON @schema@.records",
		"SELECT, DELETE ON @schema@."+vaultTable,
		"SELECT, DELETE ON @schema@."+vaultHATable)
}

// VaultGrants is [Grants] for the role as which Vault itself connects. It reaches nothing
// but Vault's own tables, the records with the unseal key least of all.
func VaultGrants(schema, role string) (string, error) {
	return grants(schema, role,
		"SELECT, INSERT, UPDATE, DELETE ON @schema@."+vaultTable,
		"SELECT, INSERT, UPDATE, DELETE ON @schema@."+vaultHATable)
}

// grants returns the statements that give a role these rights, and the use of the schema.
func grants(schema, role string, rights ...string) (string, error) {
	schema, err := schemaName(schema)
	if err != nil {
		return "", fmt.Errorf("postgres: %w", err)
	}
	if role == "" || len(role) > maxIdentifier || strings.ContainsRune(role, 0) {
		return "", fmt.Errorf("postgres: %q can't be the name of a role", role)
	}
	var b strings.Builder
	for _, right := range append([]string{"USAGE ON SCHEMA @schema@"}, rights...) {
		fmt.Fprintf(&b, "GRANT %s TO %s;\n", inSchema(schema, right), quote(role))
	}
	return b.String(), nil
}

// schemaPattern is narrower than what PostgreSQL allows in quotes, so that a
// name can be put into scripts and function bodies as it is.
var schemaPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// schemaName returns the name to use, or an error for one that can't be.
func schemaName(name string) (string, error) {
	switch {
	case name == "":
		return defaultSchema, nil
	case len(name) > maxIdentifier:
		return "", fmt.Errorf("the schema name %.80q is longer than the %d bytes that PostgreSQL keeps", name, maxIdentifier)
	case !schemaPattern.MatchString(name):
		return "", fmt.Errorf("the schema name %q is not a letter or underscore followed by letters, digits, underscores and hyphens", name)
	case strings.HasPrefix(name, "pg_"):
		return "", fmt.Errorf("the schema name %q begins with pg_, which PostgreSQL reserves", name)
	}
	return name, nil
}

func quote(identifier string) string { return pgx.Identifier{identifier}.Sanitize() }

// inSchema puts the schema's name into SQL.
func inSchema(schema, sql string) string {
	return strings.ReplaceAll(sql, "@schema@", quote(schema))
}

// loadSteps returns the embedded migrations, the first at index 0.
func loadSteps(schema string) ([]string, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var steps []string
	for i, name := range names {
		if !strings.HasPrefix(name, fmt.Sprintf("migrations/%04d_", i+1)) {
			return nil, fmt.Errorf("the migration %s is out of sequence", name)
		}
		sql, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		steps = append(steps, inSchema(schema, string(sql)))
	}
	if len(steps) == 0 {
		return nil, errors.New("no migrations")
	}
	return steps, nil
}

// versionTable has a row for each migration that was done.
func versionTable(schema string) string {
	return inSchema(schema, `CREATE TABLE @schema@.schema_version (
    version integer NOT NULL PRIMARY KEY,
    applied timestamptz NOT NULL DEFAULT now()
);
`)
}

func recordVersion(schema string, version int) string {
	return inSchema(schema, fmt.Sprintf("INSERT INTO @schema@.schema_version (version) VALUES (%d);\n", version))
}
