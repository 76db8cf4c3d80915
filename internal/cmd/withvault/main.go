// Command withvault runs a command beside a Vault of its own.
//
//	withvault [-storage DIR] [-quiet] -- COMMAND ARGS...
//
// It starts a development Vault on 127.0.0.1, enables the transit engine at
// transit/, and runs COMMAND with VAULT_ADDR and VAULT_TOKEN set. When the
// command ends, so does the Vault, and withvault exits with the command's code:
//
//	withvault -- go run ./examples/quickstart
//
// Data is kept in a directory that is removed in the end, or with -storage in
// DIR, where a later run finds it again. DIR then also holds the unseal key:
// this is for development only.
//
// Exit codes of its own follow the shell and its like: 2 for a bad command
// line, 125 if the Vault failed, 126 or 127 if COMMAND cannot be run, 128 plus
// the signal's number if a signal ended COMMAND.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/atrest/atrest/internal/devvault"
)

const (
	exitUsage = 2
	exitVault = 125
)

func main() {
	o, err := parseFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		os.Exit(exitUsage) // the flag set has said why
	}
	code, err := run(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "withvault:", err)
	}
	os.Exit(code)
}

// options is a parsed command line.
type options struct {
	storage string
	quiet   bool
	command []string
}

func parseFlags(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("withvault", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.storage, "storage", "", "keep Vault's data and unseal key in `DIR` (default: a temporary directory)")
	flags.BoolVar(&o.quiet, "quiet", false, "do not say where the Vault is")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "Usage: withvault [-storage DIR] [-quiet] -- COMMAND ARGS...")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if o.command = flags.Args(); len(o.command) == 0 {
		err := errors.New("no COMMAND to run")
		fmt.Fprintln(stderr, "withvault:", err)
		flags.Usage()
		return options{}, err
	}
	return o, nil
}

// run does the work between the command line and the exit code.
func run(o options) (code int, err error) {
	// From here on no signal ends us before the Vault is stopped. Those that
	// arrive before the command runs are kept for it.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, forwarded()...)
	defer signal.Stop(signals)

	server, cleanUp, err := startVault(o)
	if err != nil {
		return exitVault, err
	}
	defer func() {
		if failed := cleanUp(); failed != nil {
			err = errors.Join(err, failed)
			if code == 0 {
				code = exitVault
			}
		}
	}()
	if !o.quiet {
		fmt.Fprintf(os.Stderr, "withvault: Vault with transit/ at %s\n", server.Addr())
	}
	return runCommand(o.command, environment(server), signals)
}

// startVault starts the Vault and returns how to be rid of it again.
func startVault(o options) (server *devvault.Server, cleanUp func() error, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, removeDir, err := storageDir(o.storage)
	if err != nil {
		return nil, nil, err
	}
	server, err = devvault.Start(ctx, devvault.Options{StorageDir: dir})
	if err != nil {
		return nil, nil, errors.Join(err, removeDir())
	}
	cleanUp = func() error { return errors.Join(server.Stop(), removeDir()) }
	if err := server.EnableTransit(ctx, "transit"); err != nil {
		return nil, nil, errors.Join(err, cleanUp())
	}
	return server, cleanUp, nil
}

// storageDir is the directory asked for, which stays, or a temporary one.
func storageDir(asked string) (dir string, remove func() error, err error) {
	if asked != "" {
		return asked, func() error { return nil }, nil
	}
	dir, err = os.MkdirTemp("", "withvault-")
	if err != nil {
		return "", nil, fmt.Errorf("making a directory for Vault's data: %w", err)
	}
	return dir, func() error { return os.RemoveAll(dir) }, nil
}
