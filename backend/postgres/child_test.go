package postgres

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/devpostgres"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Where and in which schema a child process of the tests begins a put.
const (
	childURL    = "ATREST_POSTGRES_TEST_URL"
	childSchema = "ATREST_POSTGRES_TEST_SCHEMA"
)

// runChild begins a large put that never ends, if this process is a child.
func runChild() bool {
	url, ok := os.LookupEnv(childURL)
	if !ok {
		return false
	}
	err := func() error {
		pool, err := pgxpool.New(context.Background(), url)
		if err != nil {
			return err
		}
		s, err := New(context.Background(), Config{Pool: pool, Schema: os.Getenv(childSchema)})
		if err != nil {
			return err
		}
		_, err = s.Put(context.Background(), "name", nil, stalling(3*chunkSize, func() {
			fmt.Println("waiting")
			time.Sleep(time.Minute)
		}), backend.Condition{})
		return err
	}()
	fmt.Println("the put ended:", err)
	return true
}

// stalling is a body that calls stall after n bytes and then ends.
func stalling(n int, stall func()) io.Reader {
	return io.MultiReader(bytes.NewReader(make([]byte, n)), readerFunc(func([]byte) (int, error) {
		stall()
		return 0, io.EOF
	}))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestKillProcess kills a process in the midst of a large put.
func TestKillProcess(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL()))
	old := mustPut(t, s, "name", 2*chunkSize)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^$")
	cmd.Env = append(os.Environ(), childURL+"="+server.URL(), childSchema+"="+s.schema)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "waiting\n" {
		t.Errorf("the child says %q (%v)", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	wantObject(t, s, "name", old, 2*chunkSize)
	wantNoResidue(t, s)
	mustPut(t, s, "name", 3*chunkSize)
}

// ownServer starts a server that the test may kill.
func ownServer(t *testing.T) *devpostgres.Server {
	t.Helper()
	own, err := devpostgres.Start(t.Context(), devpostgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Stop(); err != nil {
			t.Error(err)
		}
	})
	return own
}

// TestKillServer kills the server in the midst of a large put.
func TestKillServer(t *testing.T) {
	t.Parallel()
	own := ownServer(t)
	s, err := New(t.Context(), Config{Pool: newPool(t, own.URL())})
	if err != nil {
		t.Fatal(err)
	}
	old := mustPut(t, s, "name", 2*chunkSize)
	var killErr error
	_, err = s.Put(t.Context(), "name", nil, stalling(3*chunkSize, func() { killErr = own.Kill() }), backend.Condition{})
	if errors.Is(killErr, errors.ErrUnsupported) {
		t.Skip("the death of a server is NOT tested:", killErr)
	}
	if !errors.Is(err, atrest.ErrUnavailable) {
		t.Fatalf("put while the server dies: %v (kill: %v)", err, killErr)
	}
	_, err = s.Get(t.Context(), "name", backend.All, "")
	if !errors.Is(err, atrest.ErrUnavailable) {
		t.Fatalf("get from a dead server: %v", err)
	}
	if _, err := New(t.Context(), Config{Pool: newPool(t, own.URL())}); !errors.Is(err, atrest.ErrUnavailable) {
		t.Fatalf("New with a dead server: %v", err)
	}
	if err := own.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantObject(t, s, "name", old, 2*chunkSize)
	wantNoResidue(t, s)
	mustPut(t, s, "name", 3*chunkSize)
}
