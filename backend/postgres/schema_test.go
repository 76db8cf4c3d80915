package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// newDatabase returns the URL of a database of the test's own.
func newDatabase(t testing.TB) string {
	t.Helper()
	url, err := server.Database(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// TestConcurrentStart lets many processes' worth of stores start at once on an
// empty database, half of them in one schema and half in another.
func TestConcurrentStart(t *testing.T) {
	t.Parallel()
	for _, setting := range []string{"", "?default_query_exec_mode=exec", "?default_transaction_isolation=serializable"} {
		url := newDatabase(t) + strings.Replace(setting, "?", "&", 1)
		var wg sync.WaitGroup
		errs := make([]error, 20)
		for i := range errs {
			pool := newPool(t, url, ofTwo)
			wg.Go(func() {
				s, err := New(t.Context(), Config{Pool: pool, Schema: []string{"", "other"}[i%2]})
				if err == nil {
					_, err = s.Put(t.Context(), fmt.Sprint(i), nil, strings.NewReader("body"), backend.Condition{})
				}
				errs[i] = err
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Errorf("with %q: %v", setting, err)
		}
	}
}

// TestSchemaNames checks which names are taken, and that stores of different ones
// share nothing.
func TestSchemaNames(t *testing.T) {
	t.Parallel()
	pool := newPool(t, newDatabase(t))
	for _, name := range []string{"", "A-Table", "user", "x1_", strings.Repeat("x", 63)} {
		s := openStore(t, Config{Pool: pool, Schema: name})
		if err := s.Delete(t.Context(), "name", backend.Condition{}); err != nil {
			t.Error(err)
		}
		if _, err := s.Put(t.Context(), "name", nil, strings.NewReader(name), backend.Condition{IfAbsent: true}); err != nil {
			t.Errorf("schema %q: %v", name, err)
		}
	}
	for _, name := range []string{`a"b`, "a b", "1a", "a$$b", "pg_x", "é", "a\x00", "@schema@", strings.Repeat("x", 64)} {
		if _, err := New(t.Context(), Config{Pool: pool, Schema: name}); err == nil {
			t.Errorf("the schema name %q was taken", name)
		}
		if _, err := Migrations(name); err == nil {
			t.Errorf("there are scripts for the schema name %q", name)
		}
		for _, grants := range []func(schema, role string) (string, error){Grants, RecordsGrants, VaultGrants} {
			if _, err := grants(name, "role"); err == nil {
				t.Errorf("there are grants for the schema name %q", name)
			}
		}
	}
	for _, role := range []string{"", "a\x00", strings.Repeat("x", 64)} {
		if _, err := Grants("", role); err == nil {
			t.Errorf("there are grants for the role %q", role)
		}
	}
}

// TestUpgrade opens tables of each older version, in which there is an object.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	migrations, err := Migrations("")
	if err != nil {
		t.Fatal(err)
	}
	for older := 1; older < len(migrations); older++ {
		pool := newPool(t, newDatabase(t))
		for _, m := range migrations[:older] {
			if _, err := pool.Exec(t.Context(), m.SQL, pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := pool.Exec(t.Context(), `INSERT INTO atrest.objects (name, version, size, header, body) VALUES ('name', gen_random_uuid(), 0, '', '')`); err != nil {
			t.Fatal(err)
		}
		_, err := New(t.Context(), Config{Pool: pool, SkipMigrations: true})
		if !errors.Is(err, atrest.ErrSchemaVersion) {
			t.Errorf("version %d, not to be updated: %v", older, err)
		}
		// Whoever comes first, the store or the records.
		r := openRecordsIn(t, RecordsConfig{Pool: pool})
		if _, err := r.PutRecord(t.Context(), "seal", []byte("data"), ""); err != nil {
			t.Error(err)
		}
		s := openStore(t, Config{Pool: pool, SkipMigrations: true})
		if o, err := s.Get(t.Context(), "name", backend.Range{}, ""); err != nil {
			t.Errorf("after the update from version %d: %v", older, err)
		} else {
			o.Body.Close()
		}
	}
}

// TestSchemaVersion opens stores on tables that are missing, older, and newer.
func TestSchemaVersion(t *testing.T) {
	t.Parallel()
	pool := newPool(t, newDatabase(t))
	open := func(skip bool) error {
		_, err := New(t.Context(), Config{Pool: pool, SkipMigrations: skip})
		return err
	}
	if err := open(true); !errors.Is(err, atrest.ErrStorageMissing) || !strings.Contains(err.Error(), "Migrations") {
		t.Errorf("missing tables: %v", err)
	}
	runMigrations(t, pool, "")
	for _, skip := range []bool{true, false} {
		if err := open(skip); err != nil {
			t.Errorf("tables made by the scripts: %v", err)
		}
	}
	last, err := Migrations("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), last[len(last)-1].SQL, pgx.QueryExecModeSimpleProtocol); err == nil {
		t.Error("a script can be run twice")
	}
	if _, err := pool.Exec(t.Context(), "ROLLBACK", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Error(err)
	}
	if _, err := pool.Exec(t.Context(), "INSERT INTO atrest.schema_version VALUES (1000)"); err != nil {
		t.Fatal(err)
	}
	for _, skip := range []bool{true, false} {
		if err := open(skip); !errors.Is(err, atrest.ErrSchemaVersion) {
			t.Errorf("newer tables: %v", err)
		}
	}
	s := &Store{schema: "x"}
	if err := s.checkVersion(1, 2); !errors.Is(err, atrest.ErrSchemaVersion) || !strings.Contains(err.Error(), "Migrations") {
		t.Errorf("older tables: %v", err)
	}
}

func runMigrations(t *testing.T, pool *pgxpool.Pool, schema string) {
	t.Helper()
	migrations, err := Migrations(schema)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range migrations {
		if m.Version != i+1 {
			t.Errorf("migration %d makes version %d", i, m.Version)
		}
		if _, err := pool.Exec(t.Context(), m.SQL, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("migration %d: %v", m.Version, err)
		}
	}
}

// newRole makes a role without any rights and returns it and the URL as which it connects.
func newRole(t *testing.T, pool *pgxpool.Pool, at string) (role, roleURL string) {
	t.Helper()
	role = strings.ToLower(newSchema(t, pool))
	if _, err := pool.Exec(t.Context(), "CREATE ROLE "+role+" LOGIN PASSWORD 'not a secret'"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := pool.Exec(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "not a secret")
	return role, u.String()
}

// TestRestrictedRole does everything as a role that has what Grants returns and no more.
func TestRestrictedRole(t *testing.T) {
	t.Parallel()
	at := newDatabase(t)
	admin := newPool(t, at)
	role, roleURL := newRole(t, admin, at)
	pool := newPool(t, roleURL)
	_, err := New(t.Context(), Config{Pool: pool})
	if !errors.Is(err, atrest.ErrPermission) {
		t.Errorf("making the tables without the right to: %v", err)
	}
	runMigrations(t, admin, "")
	_, err = New(t.Context(), Config{Pool: pool, SkipMigrations: true})
	if !errors.Is(err, atrest.ErrPermission) || !strings.Contains(err.Error(), "Grants") {
		t.Errorf("tables that may not be read: %v", err)
	}
	grants, err := Grants("", role)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Exec(t.Context(), grants, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	for _, skip := range []bool{false, true} {
		allOperations(t, openStore(t, Config{Pool: pool, SkipMigrations: skip}))
	}
	for _, sql := range []string{
		"CREATE TABLE atrest.t (i int)", "DROP TABLE atrest.chunks", "TRUNCATE atrest.objects", "CREATE SCHEMA s",
		"ALTER TABLE atrest.objects ADD COLUMN c int", "UPDATE atrest.chunks SET data = ''", "DELETE FROM atrest.schema_version",
		"SELECT FROM atrest.records", "DELETE FROM atrest.records", "SELECT FROM atrest.vault_kv_store", "DELETE FROM atrest.vault_ha_locks",
	} {
		if _, err := pool.Exec(t.Context(), sql); !isCode(err, codePrivilege) {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// allOperations makes each call that changes or reads, with small and large bodies.
func allOperations(t *testing.T, s *Store) {
	t.Helper()
	for _, size := range []int{100, 2*chunkSize + 1} {
		mustPut(t, s, "name", size)
		v := mustPut(t, s, "name", size)
		wantObject(t, s, "name", v, size)
		w, err := s.Copy(t.Context(), "copy", "name", v, []byte("header"), backend.Condition{})
		if err != nil {
			t.Fatal(err)
		}
		wantObject(t, s, "copy", w, size)
		update := backend.HeaderUpdate{Name: "copy", Version: w, Old: []byte("header"), New: []byte("new")}
		back := backend.HeaderUpdate{Name: "copy", Version: w, Old: []byte("new"), New: []byte("header")}
		if err := errors.Join(append(s.SetHeaders(t.Context(), []backend.HeaderUpdate{back, update}), nil)...); err != nil && !errors.Is(err, atrest.ErrConflict) {
			t.Fatal(err)
		}
		update.New, back.Old = []byte("third"), []byte("third")
		o, err := s.Get(t.Context(), "copy", backend.Range{}, "")
		if err != nil {
			t.Fatal(err)
		}
		update.Old, back.New = o.Header, o.Header
		if err := errors.Join(s.SetHeader(t.Context(), update), s.SetHeader(t.Context(), back)); err != nil {
			t.Fatal(err)
		}
		for _, err := range s.List(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, cond := range []backend.Condition{{IfVersion: v}, {}} {
			if err := s.Delete(t.Context(), "name", cond); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Delete(t.Context(), "copy", backend.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	wantNoResidue(t, s)
}
