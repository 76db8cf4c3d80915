package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/devpostgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A standbyCase is a call whose change is committed and waits for a standby that does not
// exist, when that wait is ended in one of two ways.
type standbyCase struct {
	what     string
	canceled bool // or else the backend is told to end
	do       func(ctx context.Context, s *Store, old backend.Version) error

	store *Store
	old   backend.Version // of the object "old", of 2,000 bytes
}

func putOf(size int) func(context.Context, *Store, backend.Version) error {
	return func(ctx context.Context, s *Store, _ backend.Version) error {
		_, err := s.Put(ctx, "thing", []byte("header"), bytes.NewReader(bodyOf(size)), backend.Condition{})
		return err
	}
}

func copyOld(ctx context.Context, s *Store, old backend.Version) error {
	_, err := s.Copy(ctx, "thing", "old", old, []byte("header"), backend.Condition{})
	return err
}

func deleteOld(ctx context.Context, s *Store, old backend.Version) error {
	return s.Delete(ctx, "old", backend.Condition{IfVersion: old})
}

// TestStandby has a server that is to wait for a standby that does not exist.
func TestStandby(t *testing.T) {
	t.Parallel()
	admin := newStandbyServer(t)
	t.Run("never", func(t *testing.T) { testNoStandby(t, admin) })
	t.Run("late", func(t *testing.T) { testLateStandby(t, admin) })
}

// testNoStandby: what is committed, and seen by everybody, but not on the standby is no
// success.
func testNoStandby(t *testing.T, admin *standbyServer) {
	var cases []*standbyCase
	for _, canceled := range []bool{false, true} {
		cases = append(cases,
			&standbyCase{what: "small put", canceled: canceled, do: putOf(2000)},
			&standbyCase{what: "large put", canceled: canceled, do: putOf(chunkSize)},
			&standbyCase{what: "copy", canceled: canceled, do: copyOld},
			&standbyCase{what: "deletion", canceled: canceled, do: deleteOld})
	}
	for _, c := range cases {
		c.open(t, admin)
	}
	admin.setStandby(t, "nobody")
	var wg sync.WaitGroup
	for _, c := range cases {
		wg.Go(func() {
			err := c.run(t, admin, func() {})
			says := "may have been made"
			if c.canceled {
				says = "was committed"
			}
			if !errors.Is(err, atrest.ErrUnavailable) || !strings.Contains(err.Error(), says) || c.canceled != errors.Is(err, context.Canceled) {
				t.Errorf("%s, canceled %v: %v, want ErrUnavailable that leaves it open", c.what, c.canceled, err)
			}
		})
	}
	wg.Wait()
}

// testLateStandby has the wait for the standby end well, after it was cut short: the call
// succeeds, but not before that.
func testLateStandby(t *testing.T, admin *standbyServer) {
	for _, canceled := range []bool{false, true} {
		c := &standbyCase{what: "small put", canceled: canceled, do: putOf(2000)}
		c.open(t, admin)
		admin.setStandby(t, "nobody")
		err := c.run(t, admin, func() {
			admin.awaitWait(t, c.name(), "pg_logical_emit_message") // which is to confirm the change
			admin.setStandby(t, "")
		})
		if err != nil {
			t.Fatalf("%s, canceled %v: %v", c.what, canceled, err)
		}
		wantObject(t, c.store, "thing", "", 2000)
	}
}

// name is the application_name of the store's connections.
func (c *standbyCase) name() string {
	return strings.ReplaceAll(fmt.Sprint(c.what, c.canceled), " ", "")
}

func (c *standbyCase) open(t *testing.T, admin *standbyServer) {
	t.Helper()
	c.store = newStore(t, newPool(t, admin.server.URL()+"&application_name="+c.name()))
	c.old = mustPut(t, c.store, "old", 2000)
}

// run makes the call and ends the wait for a standby, after which it calls then.
func (c *standbyCase) run(t *testing.T, admin *standbyServer, then func()) error {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- c.do(ctx, c.store, c.old) }()
	pid := admin.awaitWait(t, c.name(), "")
	if c.canceled {
		cancel()
	} else {
		admin.terminate(t, pid)
	}
	then()
	return <-result
}

// A standbyServer may be told to wait for a standby. Its pool is of an administrator who
// does not.
type standbyServer struct {
	server *devpostgres.Server
	pool   *pgxpool.Pool
}

func newStandbyServer(t *testing.T) *standbyServer {
	t.Helper()
	// The setting is there to have a server that is ours alone.
	own, err := devpostgres.Start(t.Context(), devpostgres.Options{Settings: map[string]string{"max_connections": "50"}})
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("synchronous replication is NOT tested:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &standbyServer{own, newPool(t, own.URL()+"&synchronous_commit=local&default_query_exec_mode=exec")}
}

// setStandby has the server wait for a standby of that name, or for none. It returns once
// the server does, and has the test end with none.
func (s *standbyServer) setStandby(t *testing.T, name string) {
	t.Helper()
	for _, sql := range []string{"ALTER SYSTEM SET synchronous_standby_names = '" + name + "'", "SELECT pg_reload_conf()"} {
		if _, err := s.pool.Exec(context.Background(), sql); err != nil {
			t.Error(err)
		}
	}
	if name == "" {
		return
	}
	t.Cleanup(func() { s.setStandby(t, "") }) // else the schemas can't be dropped
	probe := newPool(t, s.server.URL()+"&application_name=probe")
	var wg sync.WaitGroup
	wg.Go(func() {
		for err := error(nil); err == nil; { // until a backend is told to end
			_, err = probe.Exec(t.Context(), "SELECT pg_logical_emit_message(true, 'probe', '')")
		}
	})
	s.terminate(t, s.awaitWait(t, "probe", ""))
	wg.Wait()
}

func (s *standbyServer) terminate(t *testing.T, pid int) {
	if _, err := s.pool.Exec(t.Context(), "SELECT pg_terminate_backend($1)", pid); err != nil {
		t.Error(err)
	}
}

// awaitWait returns the backend that waits for a standby, of a client with that
// application_name, with a statement in which the text is.
func (s *standbyServer) awaitWait(t *testing.T, client, text string) (pid int) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		err := s.pool.QueryRow(t.Context(), `SELECT pid FROM pg_stat_activity
			WHERE wait_event = 'SyncRep' AND application_name = $1 AND strpos(query, $2) > 0`, client, text).Scan(&pid)
		if err == nil {
			return pid
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			t.Error(err)
			return 0
		}
	}
	t.Errorf("%s does not wait for a standby", client)
	return 0
}
