package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/devpostgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// atVersion3 returns a pool of a database with tables of version 3 and rows of each kind.
func atVersion3(t *testing.T) *pgxpool.Pool {
	t.Helper()
	return makeVersion3(t, newPool(t, newDatabase(t)))
}

// makeVersion3 is atVersion3 in a database that has no tables yet.
func makeVersion3(t *testing.T, pool *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
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

// lockTime is the lock_timeout of migration 4.
const lockTime = 1500 * time.Millisecond

// TestUpgradeTo4Busy has others keep the table. It is not parallel, for the variables.
func TestUpgradeTo4Busy(t *testing.T) {
	tries, pause := migrationTries, migrationPause
	t.Cleanup(func() { migrationTries, migrationPause = tries, pause }) // after the parallel tests below
	migrationTries, migrationPause = 2, 500*time.Millisecond
	t.Run("for long", upgradeKept)
	t.Run("for a while", upgradeKeptForAWhile)
	t.Run("until the context ends", upgradeKeptTooLong)
	t.Run("autovacuum", upgradeVacuumed)
}

// keep locks the table as readers do, until the function is called that it returns.
func keep(t *testing.T, pool *pgxpool.Pool) (end func()) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE atrest.objects IN ACCESS SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if err := tx.Rollback(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// wantLocked wants err to be of that kind, and to say what to do.
func wantLocked(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(fmt.Sprint(err), "pg_dump") || !strings.Contains(fmt.Sprint(err), "start again") {
		t.Errorf("%v; want %v and the remedy", err, kind)
	}
}

// upgradeKept starts two programs while somebody else has the table throughout. A reader who comes
// all the time waits only while one of them tries, and gets on in between.
func upgradeKept(t *testing.T) {
	t.Parallel()
	pool := atVersion3(t)
	end := keep(t, pool)
	defer end()
	start := time.Now()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			_, err := New(t.Context(), Config{Pool: pool})
			wantLocked(t, err, atrest.ErrUnavailable)
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	held, longest := 0, time.Duration(0)
	for running := true; running; {
		began := time.Now()
		if _, err := pool.Exec(t.Context(), `SELECT FROM atrest.objects`); err != nil {
			t.Error(err)
		}
		took := time.Since(began)
		longest = max(longest, took)
		if took > lockTime/2 {
			held++
		}
		select {
		case <-done:
			running = false
		case <-time.After(20 * time.Millisecond):
		}
	}
	took, all := time.Since(start), 2*migrationTries
	if least := time.Duration(all) * (lockTime + migrationPause); took < least {
		t.Errorf("%d tries took %v, want %v or more", all, took, least)
	}
	if held != all || longest > lockTime+time.Second {
		t.Errorf("a reader had to wait %d times, and %v; want %d, and %v", held, longest, all, lockTime)
	}
	end()
	openStore(t, Config{Pool: pool})
}

// upgradeKeptForAWhile has the table free again when the second try is made. The session has a
// time limit for idle transactions, which is less than the pause.
func upgradeKeptForAWhile(t *testing.T) {
	t.Parallel()
	pool := atVersion3(t)
	time.AfterFunc(lockTime+migrationPause/4, keep(t, pool))
	u := pool.Config().ConnString() + "&idle_in_transaction_session_timeout=250"
	start := time.Now()
	openStore(t, Config{Pool: newPool(t, u)})
	if took := time.Since(start); took < lockTime+migrationPause {
		t.Errorf("the upgrade did not wait: it took %v", took)
	}
}

// upgradeKeptTooLong has the context end in the pause, and in the try after that.
func upgradeKeptTooLong(t *testing.T) {
	t.Parallel()
	pool := atVersion3(t)
	defer keep(t, pool)()
	for _, limit := range []time.Duration{lockTime + migrationPause/2, lockTime + migrationPause + lockTime/2} {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		_, err := New(ctx, Config{Pool: pool})
		if ctx.Err() == nil {
			t.Errorf("the upgrade ended before its context of %v", limit)
		}
		cancel()
		wantLocked(t, err, context.DeadlineExceeded)
	}
}

// upgradeVacuumed has an autovacuum on the table, which takes as long as it likes and
// gives way to whoever waits for longer than deadlock_timeout.
func upgradeVacuumed(t *testing.T) {
	t.Parallel()
	own, err := devpostgres.Start(t.Context(), devpostgres.Options{Settings: map[string]string{"autovacuum_naptime": "1s"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Stop(); err != nil {
			t.Error(err)
		}
	})
	pool := makeVersion3(t, newPool(t, own.URL()))
	for _, sql := range []string{
		`INSERT INTO atrest.objects (name, version, size, header, body) SELECT 'v' || i, gen_random_uuid(), 0, '', '' FROM generate_series(1, 20000) i`,
		`ALTER TABLE atrest.objects SET (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)`,
		`DELETE FROM atrest.objects WHERE name LIKE 'v%5'`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	const vacuums = `SELECT count(*) FROM pg_locks WHERE relation = 'atrest.objects'::regclass AND mode = 'ShareUpdateExclusiveLock' AND granted`
	for deadline, n := time.Now().Add(time.Minute), 0; n == 0; time.Sleep(50 * time.Millisecond) {
		if err := pool.QueryRow(t.Context(), vacuums).Scan(&n); err != nil || time.Now().After(deadline) {
			t.Fatalf("no autovacuum has begun: %v", err)
		}
	}
	start := time.Now()
	openStore(t, Config{Pool: pool})
	if took := time.Since(start); took < lockTime/2 || took > lockTime+migrationPause {
		t.Errorf("the upgrade took %v, want the first try to wait for the autovacuum", took)
	}
}

// TestRepairKeyVersion has a program of version 3 write beside one of version 4, and then runs what
// README.md says, while headers are changed.
func TestRepairKeyVersion(t *testing.T) {
	t.Parallel()
	pool := atVersion3(t)
	openStore(t, Config{Pool: pool})
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	for h := range someHeaders() {
		// A program of version 3 leaves the column null in a new row, and as it was in one that it changes.
		exec(`INSERT INTO atrest.objects (name, version, size, header, body) VALUES ('new' || gen_random_uuid(), gen_random_uuid(), 0, $1, '')`, []byte(h))
		exec(`INSERT INTO atrest.objects (name, version, size, header, body, key_version) VALUES ('old' || gen_random_uuid(), gen_random_uuid(), 0, $1, '', 6)`, []byte(h))
	}
	if _, wrong := keyVersions(t, pool); wrong < 20 {
		t.Fatalf("only %d rows are wrong", wrong)
	}

	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `UPDATE atrest.objects SET header = $1, key_version = 8 WHERE name LIKE 'new%'`, envelope(3, 8)); err != nil {
		t.Fatal(err)
	}
	repaired := make(chan error, 1)
	repair := repairSQL(t)
	go func() {
		_, err := pool.Exec(t.Context(), repair, pgx.QueryExecModeSimpleProtocol)
		repaired <- err
	}()
	select {
	case err := <-repaired:
		t.Fatalf("the repair did not wait for a row: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-repaired; err != nil {
		t.Fatal(err)
	}
	if rows, wrong := keyVersions(t, pool); wrong != 0 || rows < 40 {
		t.Errorf("%d of %d rows are wrong after the repair", wrong, rows)
	}
	if tag, err := pool.Exec(t.Context(), repair, pgx.QueryExecModeSimpleProtocol); err != nil || tag.String() != "UPDATE 0" {
		t.Errorf("a second repair: %v, %v", tag, err)
	}
}

// repairSQL is the statement in README.md.
func repairSQL(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(readme), "```sql\n")[1:] {
		if block, _, _ = strings.Cut(block, "```"); strings.Contains(block, "UPDATE") && strings.Contains(block, "SET key_version") {
			return block
		}
	}
	t.Fatal("README.md has no statement that repairs key_version")
	return ""
}

// keyVersions counts the rows, and those whose key version is not what their header says.
func keyVersions(t *testing.T, pool *pgxpool.Pool) (all, wrong int) {
	t.Helper()
	rows, _ := pool.Query(t.Context(), `SELECT header, key_version FROM atrest.objects`)
	var header []byte
	var got *int32
	_, err := pgx.ForEachRow(rows, []any{&header, &got}, func() error {
		all++
		if want := keyVersion(header); orZero(got) != orZero(want) || (got == nil) != (want == nil) {
			wrong++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, wrong
}
