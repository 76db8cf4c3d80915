package postgres

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/faultproxy"
)

// TestRecordsLockOutlasts holds a lock in sessions whose timeouts would end it.
func TestRecordsLockOutlasts(t *testing.T) {
	t.Parallel()
	r := newRecords(t, newPool(t, server.URL()+"&idle_in_transaction_session_timeout=3000&lock_timeout=3000&statement_timeout=3000"))
	held, unlock, err := r.LockRecords(t.Context(), "lock")
	if err != nil {
		t.Fatal(err)
	}
	waited := make(chan error)
	go func() {
		_, unlock, err := r.LockRecords(t.Context(), "lock")
		if err == nil {
			unlock()
		}
		waited <- err
	}()
	time.Sleep(pingEvery + time.Second) // with a ping in it
	if held.Err() != nil {
		t.Errorf("the lock was lost: %v", context.Cause(held))
	}
	unlock()
	if err := <-waited; err != nil {
		t.Errorf("waiting for the lock: %v", err)
	}
}

// TestRecordsLockLostQuietly has the network swallow everything, in either direction: the
// context ends all the same, and unlock returns.
func TestRecordsLockLostQuietly(t *testing.T) {
	t.Parallel()
	for _, direction := range []faultproxy.Direction{faultproxy.Up, faultproxy.Down} {
		t.Run(direction.String(), func(t *testing.T) { t.Parallel(); loseQuietly(t, direction) })
	}
}

func loseQuietly(t *testing.T, direction faultproxy.Direction) {
	proxy := faultproxy.New(t, server.Host())
	at, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	at.Host = proxy.Addr()
	r := openRecordsIn(t, RecordsConfig{Pool: newPool(t, at.String()), Schema: newSchema(t, newPool(t, server.URL()))})
	r.pingEvery, r.pingTime = 200*time.Millisecond, time.Second
	held, unlock, err := r.LockRecords(t.Context(), "lock")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * r.pingEvery)
	if held.Err() != nil {
		t.Fatalf("the lock was lost by itself: %v", context.Cause(held))
	}
	proxy.Set(faultproxy.Blackhole(direction, 0))
	select {
	case <-held.Done():
		if cause := context.Cause(held); !errors.Is(cause, atrest.ErrUnavailable) {
			t.Errorf("the cause is %v", cause)
		}
	case <-time.After(20 * time.Second):
		t.Error("the context goes on though nothing comes from the server")
	}
	unlock()
}

// TestRecordsLockAnswerLost ends the connection when the server has given the lock: it
// is free again.
func TestRecordsLockAnswerLost(t *testing.T) {
	t.Parallel()
	c := &cutter{text: "pg_advisory_xact_lock", when: answered}
	r := newRecords(t, newPool(t, server.URL()))
	cut := openRecordsIn(t, RecordsConfig{Pool: newPool(t, server.URL(), c.intoPool), Schema: r.store.schema})
	_, _, err := cut.LockRecords(t.Context(), "lock")
	if !errors.Is(err, atrest.ErrUnavailable) {
		t.Errorf("a lock whose answer was lost: %v", err)
	}
	_, unlock, err := r.LockRecords(t.Context(), "lock")
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}
