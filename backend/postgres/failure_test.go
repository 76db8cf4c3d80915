package postgres

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/tinyfs"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// everyCall makes each call and returns the errors by name.
func everyCall(ctx context.Context, s *Store) map[string]error {
	large := bytes.Repeat([]byte{1}, 2*chunkSize)
	errs := make(map[string]error)
	_, errs["small put"] = s.Put(ctx, "name", nil, strings.NewReader("body"), backend.Condition{})
	_, errs["large put"] = s.Put(ctx, "name", nil, bytes.NewReader(large), backend.Condition{})
	_, errs["get"] = s.Get(ctx, "name", backend.All, "")
	_, errs["copy"] = s.Copy(ctx, "copy", "name", versionOf(newContentID()), nil, backend.Condition{})
	update := backend.HeaderUpdate{Name: "name", Version: "v", Old: nil, New: nil}
	errs["set header"] = s.SetHeader(ctx, update)
	errs["set headers"] = s.SetHeaders(ctx, []backend.HeaderUpdate{update})[0]
	errs["delete"] = s.Delete(ctx, "name", backend.Condition{})
	errs["delete if version"] = s.Delete(ctx, "name", backend.Condition{IfVersion: "v"})
	for _, err := range s.List(ctx, "", "") {
		errs["list"] = err
	}
	return errs
}

// wantAll fails the test unless every call, or but for those named, fails like that.
func wantAll(t *testing.T, what string, errs map[string]error, want error, but ...string) {
	t.Helper()
	for call, err := range errs {
		if !errors.Is(err, want) && !strings.Contains(strings.Join(but, ","), call) {
			t.Errorf("%s, %s: error %v; want %q", what, call, err, want)
		}
		if err != nil && strings.Contains(fmt.Sprintf("%+v %v", err, err), "secret") {
			t.Errorf("%s, %s: the error shows the password: %v", what, call, err)
		}
	}
}

// TestMissing drops tables, then the schema, from under a store.
func TestMissing(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	mustPut(t, s, "name", 10)
	execSQL(t, s, `DROP TABLE @schema@.objects`)
	wantAll(t, "without a table", everyCall(t.Context(), s), atrest.ErrStorageMissing)
	execSQL(t, s, `DROP SCHEMA @schema@ CASCADE`)
	wantAll(t, "without a schema", everyCall(t.Context(), s), atrest.ErrStorageMissing)
}

// TestReadOnly has a server that is a standby, as far as it says.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	pool := newPool(t, server.URL()+"&default_transaction_read_only=on")
	readOnly := openStore(t, Config{Pool: pool, Schema: s.schema})
	v := mustPut(t, s, "name", 1000)
	wantObject(t, readOnly, "name", v, 1000)
	errs := everyCall(t.Context(), readOnly)
	for _, reads := range []string{"get", "list"} {
		delete(errs, reads)
	}
	wantAll(t, "read-only", errs, atrest.ErrPermission)
	wantObject(t, s, "name", v, 1000)
	_, err := New(t.Context(), Config{Pool: pool, Schema: newSchema(t, s.pool)})
	wantAll(t, "read-only", map[string]error{"New": err}, atrest.ErrPermission)
}

// TestDeadline has deadlines that have passed, and one that passes while a lock is held
// by another.
func TestDeadline(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	v := mustPut(t, s, "name", 1000)
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	wantAll(t, "after the deadline", everyCall(ctx, s), context.DeadlineExceeded)
	if err := s.Delete(t.Context(), "name", backend.Condition{IfVersion: v}); err != nil {
		t.Error("after that:", err)
	}
	cancelBlockedPut(t, s)
}

// cancelBlockedPut has a deadline that passes while a lock is held by another.
func cancelBlockedPut(t *testing.T, s *Store) {
	t.Helper()
	v := mustPut(t, s, "name", 1000)
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), inSchema(s.schema, `SELECT FROM @schema@.objects FOR UPDATE`)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err = s.Put(ctx, "name", nil, strings.NewReader("new"), backend.Condition{})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 10*time.Second {
		t.Errorf("put of a locked object: %v after %v", err, time.Since(start))
	}
	if time.Since(start) > time.Second {
		t.Logf("it took %v until the server had cancelled it", time.Since(start))
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Nothing waits for the lock any more, to be done after all.
	time.Sleep(100 * time.Millisecond)
	wantObject(t, s, "name", v, 1000)
}

// TestServerTimeouts has limits that the server sets.
func TestServerTimeouts(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	mustPut(t, s, "name", 1000)
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), inSchema(s.schema, `LOCK TABLE @schema@.objects`)); err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{"&statement_timeout=100", "&lock_timeout=100"} {
		limited := elsewhere(s, newPool(t, server.URL()+setting))
		wantAll(t, setting, everyCall(t.Context(), limited), atrest.ErrUnavailable)
	}
}

// TestDiskFull has tables on a file system that becomes full.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s, ballast := newFullStore(t, 24<<20)
	const size = 4 << 20
	old := mustPut(t, s, "kept", size)
	mustPut(t, s, "other", size)
	wantFull := func(name string, n int) {
		t.Helper()
		_, err := s.Put(t.Context(), name, nil, bytes.NewReader(make([]byte, n)), backend.Condition{})
		if !errors.Is(err, atrest.ErrStorageFull) {
			t.Fatalf("put of %d bytes: %v; want ErrStorageFull", n, err)
		}
	}
	wantFull("kept", 24<<20)
	wantFull("new", 24<<20)
	// What was begun is free again once the table was vacuumed. Fill that too.
	for i := 0; ; i++ {
		_, err := s.Put(t.Context(), fmt.Sprint("filler", i), nil, bytes.NewReader(make([]byte, inlineLimit)), backend.Condition{})
		if errors.Is(err, atrest.ErrStorageFull) {
			break
		}
		if err != nil || i > 1000 {
			t.Fatalf("filler %d: %v", i, err)
		}
	}
	wantFull("kept", 2<<20)
	wantObject(t, s, "kept", old, size)
	wantNoResidue(t, s)
	for e, err := range s.List(t.Context(), "", "") {
		if err == nil && e.Name != "kept" {
			err = s.Delete(t.Context(), e.Name, backend.Condition{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// Vacuuming takes some room of its own.
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	execSQL(t, s, `VACUUM @schema@.chunks`)
	execSQL(t, s, `VACUUM @schema@.objects`)
	mustPut(t, s, "new", size)
	wantObject(t, s, "kept", old, size)
}

// newFullStore opens a store whose tables are alone on a file system of that size. What the
// server writes besides is elsewhere: a server that can't write its log stops. It returns
// a file too that only takes up room.
func newFullStore(t *testing.T, size int64) (s *Store, ballast string) {
	t.Helper()
	mount := tinyfs.Mount(t, size)
	ballast = filepath.Join(mount, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 512<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(mount, "tables")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	pool := newPool(t, server.URL())
	var data string
	if err := pool.QueryRow(t.Context(), "SHOW data_directory").Scan(&data); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(data)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chown(d, int(owner.Uid), int(owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	space := newSchema(t, pool)
	if _, err := pool.Exec(t.Context(), "CREATE TABLESPACE "+space+" LOCATION '"+dir+"'", pgx.QueryExecModeExec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := pool.Exec(context.Background(), "DROP TABLESPACE "+space, pgx.QueryExecModeExec); err != nil {
			t.Error(err)
		}
	})
	return newStore(t, newPool(t, server.URL()+"&default_tablespace="+space)), ballast
}

// TestPlaintext checks which pools are refused. None of them is made to connect.
func TestPlaintext(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		url     string
		allowed []string
		refused bool
	}{
		{"postgres://u:p@db.example/x", nil, true}, // sslmode=prefer
		{"postgres://u:p@db.example/x?sslmode=disable", nil, true},
		{"postgres://u:p@db.example/x?sslmode=allow", nil, true},
		{"postgres://u:p@db.example/x?sslmode=prefer", nil, true},
		{"postgres://u:p@127.0.0.1,db.example/x?sslmode=disable", nil, true},
		{"postgres://u:p@db.example,127.0.0.1/x?sslmode=prefer", []string{"127.0.0.1"}, true},
		{"postgres://u:p@10.1.2.3/x?sslmode=disable", []string{"10.1.2.4"}, true},
		{"postgres://u:p@db.example/x?sslmode=require", nil, false},
		{"postgres://u:p@db.example/x?sslmode=verify-full", nil, false},
		{"postgres://u:p@127.0.0.1,[::1],localhost/x?sslmode=disable", nil, false},
		{"postgres:///x?host=/run/postgresql&user=u", nil, false},
		{"postgres://u:p@DB.example/x?sslmode=prefer", []string{"db.example"}, false},
	} {
		cfg, err := pgxpool.ParseConfig(c.url)
		if err != nil {
			t.Fatal(err)
		}
		err = checkEncrypted(cfg.ConnConfig, c.allowed)
		if (err != nil) != c.refused || c.refused && (!errors.Is(err, atrest.ErrPlaintextConnection) || !strings.Contains(err.Error(), "verify-full") || !strings.Contains(err.Error(), "Config.PlaintextHosts")) {
			t.Errorf("%s, allowed %q: %v", c.url, c.allowed, err)
		}
		if !c.refused {
			continue
		}
		pool := newPool(t, c.url)
		if _, err := New(t.Context(), Config{Pool: pool, PlaintextHosts: c.allowed}); !errors.Is(err, atrest.ErrPlaintextConnection) {
			t.Errorf("New with %s: %v", c.url, err)
		}
	}
}

// TestPlaintextBeforeConnect: a pool's hook that takes TLS away again.
func TestPlaintextBeforeConnect(t *testing.T) {
	t.Parallel()
	pool := newPool(t, server.URL(), func(cfg *pgxpool.Config) {
		cfg.ConnConfig.Host, cfg.ConnConfig.TLSConfig = "db.example", &tls.Config{ServerName: "db.example"}
		cfg.ConnConfig.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
		cfg.ConnConfig.DialFunc = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.Host())
		}
		cfg.BeforeConnect = func(_ context.Context, cfg *pgx.ConnConfig) error {
			cfg.TLSConfig = nil
			return nil
		}
	})
	if _, err := New(t.Context(), Config{Pool: pool, Schema: newSchema(t, pool)}); !errors.Is(err, atrest.ErrPlaintextConnection) {
		t.Errorf("%v, want ErrPlaintextConnection", err)
	}
	openStore(t, Config{Pool: pool, Schema: newSchema(t, pool), PlaintextHosts: []string{"db.example"}})
}
