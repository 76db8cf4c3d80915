package vaultserver

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"strconv"
)

// defaultMaxParallel is how many connections to the database a Vault has at most.
// Vault's own default of 128 is more than a PostgreSQL server accepts in all (100), and
// each node has as many.
const defaultMaxParallel = 16

// Storage is where Vault keeps its data. It may hold a password, and does not show it
// when printed.
type Storage struct {
	// spec returns the settings; nil is no storage. It is a function because fmt, which
	// may not call methods of what is in a struct's unexported fields, looks through
	// everything else.
	spec func() *storageSpec
}

// storageSpec is a storage block of the configuration.
type storageSpec struct {
	kind     string
	settings map[string]string
	err      error // of the constructor
}

func newStorage(spec *storageSpec) Storage { return Storage{func() *storageSpec { return spec }} }

// Postgres is storage in a PostgreSQL database, which several nodes may share: one is
// active, the others stand by.
//
// connectionURL begins with postgres:// or postgresql://, and settings are the
// further ones of Vault's storage block, such as table and ha_table; [PostgresTables] has
// both from package backend/postgres. Where they leave it open, this adds ha_enabled,
// max_parallel, max_idle_connections and OpenBao's transaction_max_parallel for a
// budget of maxParallel connections (0 means 16), and to the URL a connect_timeout and a
// statement_timeout of 10 s.
//
// Vault holds its leader's lock for 15 s and renews it every 5 s, in a statement
// without a timeout of its own. With this one, an active node whose database hangs
// steps down before another takes over. A network that swallows everything isn't
// covered: there the operating system gives up, after minutes.
//
// A connection that is not encrypted for sure, to a host that is neither on this
// machine nor among Config.PlaintextHosts, is atrest.ErrPlaintextConnection at Start:
// the URL needs sslmode=verify-full, or at least require.
func Postgres(connectionURL string, settings map[string]string, maxParallel int) Storage {
	spec := &storageSpec{kind: "postgresql", settings: map[string]string{}}
	if maxParallel == 0 {
		maxParallel = defaultMaxParallel
	}
	if maxParallel < 2 {
		spec.err = fmt.Errorf("maxParallel is %d: want 2 or more, or 0 for the default", maxParallel)
	}
	spec.settings["ha_enabled"] = "true"
	spec.settings["max_parallel"] = strconv.Itoa(maxParallel)
	spec.settings["max_idle_connections"] = strconv.Itoa(max(1, maxParallel/4))
	// OpenBao's transactions keep a connection each, and must leave some. Vault has
	// none, and ignores this.
	spec.settings["transaction_max_parallel"] = strconv.Itoa(max(1, maxParallel/2))
	maps.Copy(spec.settings, settings)
	url, err := withTimeouts(connectionURL)
	spec.settings["connection_url"] = url
	spec.err = errors.Join(spec.err, err)
	return newStorage(spec)
}

// Tables are where in a database Vault has its tables. The VaultTables of package
// backend/postgres are.
type Tables interface {
	// ConnectionURL makes a connection URL that leads to the tables of one that leads
	// to the database.
	ConnectionURL(databaseURL string) (string, error)

	// Settings are those of Vault's storage block, beside the connection URL.
	Settings() map[string]string
}

// PostgresTables is [Postgres] with the connection URL and the settings that tables makes
// of databaseURL. An error of theirs is returned by Start.
func PostgresTables(databaseURL string, tables Tables, maxParallel int) Storage {
	connectionURL, err := tables.ConnectionURL(databaseURL)
	if err != nil {
		return newStorage(&storageSpec{kind: "postgresql", err: err})
	}
	return Postgres(connectionURL, tables.Settings(), maxParallel)
}

// File is storage in a directory, for a single node. Vault makes it. A path that is not
// absolute starts at the working directory.
func File(dir string) Storage {
	path, err := filepath.Abs(dir)
	if dir == "" {
		err = errors.New("no directory")
	}
	return newStorage(&storageSpec{kind: "file", settings: map[string]string{"path": path}, err: err})
}

// InMemory is storage that each end of the process loses, for tests.
func InMemory() Storage { return newStorage(&storageSpec{kind: "inmem"}) }

// check returns what is wrong with the storage. It opens nothing.
func (s Storage) check(plaintextHosts []string) error {
	if s.spec == nil {
		return errors.New("required: Postgres, File or InMemory")
	}
	spec := s.spec()
	if spec.err != nil {
		return spec.err
	}
	if spec.kind != "postgresql" {
		return nil
	}
	return checkEncrypted(spec.settings["connection_url"], plaintextHosts)
}

// shared reports whether several nodes may use the storage.
func (s Storage) shared() bool { return s.spec().settings["ha_enabled"] == "true" }

// Format writes the kind of storage, whatever the verb.
func (s Storage) Format(f fmt.State, _ rune) {
	if s.spec == nil {
		io.WriteString(f, "no storage")
		return
	}
	io.WriteString(f, "storage "+s.spec().kind)
}

// LogValue is the kind of storage.
func (s Storage) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }
