package seal_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atrest/atrest/backend/postgres"
	"github.com/atrest/atrest/internal/devpostgres"
	"github.com/atrest/atrest/internal/devvault"
	"github.com/atrest/atrest/seal"
	"github.com/atrest/atrest/seal/vaultserver"
	"github.com/atrest/atrest/transit"
)

// nodesVariable says how many nodes boot at once in TestNodes.
const nodesVariable = "ATREST_TEST_NODES"

// A node is a machine with a Vault of its own on the database of all.
type node struct {
	dir     string
	server  *vaultserver.Server
	manager *seal.Manager
}

// newNode starts a machine, and its Vault.
func newNode(t *testing.T, database string) *node {
	t.Helper()
	binary, err := devvault.Binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	records, err := postgres.NewRecords(t.Context(), postgres.RecordsConfig{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	url, err := records.VaultTables().ConnectionURL(database)
	if err != nil {
		t.Fatal(err)
	}
	server, err := vaultserver.Start(t.Context(), vaultserver.Config{
		Binary: binary, Dir: filepath.Join(dir, "vault"), Address: "127.0.0.1:0",
		Storage: vaultserver.Postgres(url, records.VaultTables().Settings(), 4), TLS: vaultserver.NoTLS{},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	client, err := server.Client()
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "key")
	if err := seal.CreateKeyFile(key); err != nil {
		t.Fatal(err)
	}
	manager, err := seal.New(seal.Config{Vault: client, Records: records, InstanceKey: seal.KeyFile(key), PasswordFile: filepath.Join(dir, "password")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(manager.Close)
	return &node{dir, server, manager}
}

// service wraps a data key by the node's own Vault.
func (n *node) service(ctx context.Context) error {
	client, err := n.manager.Client()
	if err != nil {
		return err
	}
	keys, err := transit.Open(ctx, transit.Config{Client: client, Key: "atrest"})
	if err != nil {
		return err
	}
	_, err = keys.Wrap(ctx, []byte("data key"), []byte("context"))
	return err
}

// TestNodes boots nodes at once on one empty database, each with a Vault of its own. One
// initialises, all are unsealed, and when the active one is stopped another takes over.
func TestNodes(t *testing.T) {
	t.Parallel()
	count := 3
	if text := os.Getenv(nodesVariable); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	database, err := devpostgres.StartForTest(t).
		Database(t.Context(), "nodes_"+strings.ToLower(rand.Text()[:8]))
	if err != nil {
		t.Fatal(err)
	}
	password := seal.GeneratePassword()
	var nodes []*node
	for range count {
		nodes = append(nodes, newNode(t, database))
	}
	errs := make([]error, count)
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() {
			errs[i] = n.manager.Boot(t.Context(), password)
			if errs[i] == nil {
				errs[i] = n.service(t.Context())
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	active := -1
	for i, n := range nodes {
		switch s := n.manager.Status(t.Context()); {
		case s.Broken != "":
			t.Errorf("node %d: %s", i, s)
		case s.Vault == seal.VaultActive && active >= 0:
			t.Errorf("nodes %d and %d are active", active, i)
		case s.Vault == seal.VaultActive:
			active = i
		}
	}
	if active < 0 {
		t.Fatal("no node is active")
	}
	if err := nodes[active].server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := nodes[(active+1)%count]
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		err := left.service(t.Context())
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(fmt.Errorf("no node took over: %w", err))
		}
	}
}
