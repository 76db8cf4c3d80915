package postgres

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// atVersion3 returns a pool of a database with tables of version 3 and rows of each kind.
func atVersion3(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := newPool(t, newDatabase(t))
	migrations, err := Migrations("")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range migrations[:3] {
		if _, err := pool.Exec(t.Context(), m.SQL, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	for name, header := range map[string][]byte{"envelope": envelope(20, 7), "foreign": []byte("header"), "empty": {}} {
		for _, sql := range []string{
			`INSERT INTO atrest.objects (name, version, size, header, body) VALUES ($1 || '-inline', gen_random_uuid(), 3, $2, 'abc')`,
			`WITH o AS (INSERT INTO atrest.objects (name, version, size, header, chunk_size) VALUES ($1 || '-chunked', gen_random_uuid(), 3, $2, 2) RETURNING version)
				INSERT INTO atrest.chunks SELECT version, seq, substring('abc'::bytea FROM 2 * seq + 1 FOR 2) FROM o, generate_series(0, 1) seq`,
		} {
			if _, err := pool.Exec(t.Context(), sql, name, header); err != nil {
				t.Fatal(err)
			}
		}
	}
	return pool
}

// TestUpgradeTo4 compares rows, and the file that they are in, before and after, and has what the
// table refused refused still.
func TestUpgradeTo4(t *testing.T) {
	t.Parallel()
	pool := atVersion3(t)
	look := func() []string {
		rows, _ := pool.Query(t.Context(), `SELECT o::text || pg_relation_filenode('atrest.objects') FROM atrest.objects o ORDER BY name COLLATE "C"`)
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	wantBadRowsRefused(t, pool)
	before := look()
	s := openStore(t, Config{Pool: pool})
	if after := look(); len(after) != 6 || !slices.Equal(before, after) {
		t.Errorf("rows were\n%q\nand are\n%q", before, after)
	}
	wantBadRowsRefused(t, pool)
	var n, generated, checks int
	if err := pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM atrest.objects WHERE key_version = 7),
		(SELECT count(*) FROM pg_attribute WHERE attrelid = 'atrest.objects'::regclass AND attgenerated <> ''),
		(SELECT count(*) FROM pg_constraint WHERE conrelid = 'atrest.objects'::regclass AND contype = 'c')`).Scan(&n, &generated, &checks); err != nil {
		t.Fatal(err)
	}
	if n != 2 || generated != 0 || checks != 1 {
		t.Errorf("%d rows have their key version, want 2; %d columns are generated; %d checks", n, generated, checks)
	}
	for _, name := range []string{"envelope-inline", "envelope-chunked", "foreign-inline", "foreign-chunked", "empty-inline", "empty-chunked"} {
		if err := readAll(t, s, name); err != nil {
			t.Error(err)
		}
	}
}

// wantBadRowsRefused tries to insert rows that can be no objects, and to make them of good ones.
func wantBadRowsRefused(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	const codeCheck = "23514"
	for _, bad := range []string{ // size, header, body, chunk_size
		`-1, '', '', NULL`,
		`-1, '', NULL, 5`,
		`0, decode(repeat('00', 1025), 'hex'), '', NULL`,
		`0, decode(repeat('00', 1025), 'hex'), NULL, 5`,
		`0, '', NULL, NULL`,
		`0, '', '', 5`,
		`5, '', NULL, 0`,
		`5, '', NULL, -1`,
		`0, '', '', 0`,
		`4, '', 'abc', NULL`,
		`2, '', 'abc', NULL`,
	} {
		for _, sql := range []string{
			`INSERT INTO atrest.objects (name, version, size, header, body, chunk_size) VALUES ('bad', gen_random_uuid(), ` + bad + `)`,
			`UPDATE atrest.objects SET (size, header, body, chunk_size) = (` + bad + `) WHERE name = 'envelope-inline'`,
			`UPDATE atrest.objects SET (size, header, body, chunk_size) = (` + bad + `) WHERE name = 'envelope-chunked'`,
		} {
			if tag, err := pool.Exec(t.Context(), sql); !isCode(err, codeCheck) {
				t.Errorf("%s: %s, %v", sql, tag, err)
			}
		}
	}
}

// TestUpgradeTo4Busy has somebody keep the table, for whom the upgrade does not hold up
// everybody else for long.
func TestUpgradeTo4Busy(t *testing.T) {
	t.Parallel()
	pool := atVersion3(t)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE atrest.objects IN ACCESS SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	start := time.Now()
	_, err = New(ctx, Config{Pool: pool})
	if took := time.Since(start); !errors.Is(err, atrest.ErrUnavailable) || took < 9*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	openStore(t, Config{Pool: pool})
}
