package devpostgres

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/atrest/atrest/internal/child"
)

// cluster is what a server of ours keeps on disk. PostgreSQL calls the data that
// one server manages a cluster.
type cluster struct {
	*private
	programs string  // directory of PostgreSQL's programs
	password *string // of the owner. Behind a pointer, so that no %+v shows it
	tls      bool
}

func (c *cluster) data() string      { return c.join("data") }
func (c *cluster) authority() string { return c.join("ca.pem") }

// newCluster makes a cluster with no database of ours yet.
func newCluster(ctx context.Context, o Options) (*cluster, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	dir, err := newPrivate(o.Dir, "atrest-devpostgres-")
	if err != nil {
		return nil, err
	}
	password := rand.Text()
	c := &cluster{private: dir, programs: bin, password: &password, tls: o.TLS}
	if err := c.initialise(ctx, o); err != nil {
		return nil, dir.failed(err)
	}
	return c, nil
}

func (c *cluster) initialise(ctx context.Context, o Options) error {
	if err := c.initdb(ctx); err != nil {
		return err
	}
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"unix_socket_directories": "", // a temporary directory's path may be too long for one
		// In /dev/shm, segments would survive a server that is killed.
		"dynamic_shared_memory_type": "mmap",
	}
	if o.TLS {
		if err := c.writeCertificate(); err != nil {
			return err
		}
		settings["ssl"] = "on"
		settings["ssl_cert_file"] = c.join("server.pem")
		settings["ssl_key_file"] = c.join("server.key")
	}
	maps.Copy(settings, o.Settings)
	return c.configure(settings)
}

// initdb makes the cluster. It doesn't sync it: what a test can lose then, at a
// loss of power, is a cluster that has no data yet.
func (c *cluster) initdb(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.write("password", []byte(*c.password+"\n")); err != nil {
		return err
	}
	args := []string{
		"--pgdata=" + c.data(), "--username=" + owner, "--pwfile=" + c.join("password"),
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync",
	}
	version, err := majorVersion(ctx, c.programs)
	if err != nil {
		return err
	}
	if version >= 15 {
		// Text then sorts by the rules of a language, as in most databases
		// of users, so that a query which needs the order of bytes and does
		// not say so is found out.
		args = append(args, "--locale-provider=icu", "--icu-locale=en-US")
	}
	if err := child.Run(ctx, c.command(filepath.Join(c.programs, "initdb"), args...)); err != nil {
		return err
	}
	return os.Remove(c.join("password"))
}

// configure adds settings to postgresql.conf, where the last one counts, and
// says who may connect: the owner and whom a test creates, by password.
func (c *cluster) configure(settings map[string]string) error {
	file := filepath.Join(c.data(), "postgresql.conf")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		// A quote is doubled, and a backslash begins an escape
		// (PostgreSQL's documentation, section "Parameter Interaction via
		// the Configuration File").
		value := strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(settings[name])
		text = fmt.Appendf(text, "\n%s = '%s'", name, value)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o600); err != nil {
		return err
	}
	connection := "host"
	if c.tls {
		connection = "hostssl"
	}
	rule := fmt.Sprintf("%s all,replication all 127.0.0.1/32 scram-sha-256\n", connection)
	return os.WriteFile(filepath.Join(c.data(), "pg_hba.conf"), []byte(rule), 0o600)
}
