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
	"flag"
	"fmt"
	"os"

	"github.com/atrest/atrest/internal/beside"
	"github.com/atrest/atrest/internal/devvault"
)

func main() {
	flags := flag.NewFlagSet("withvault", flag.ContinueOnError)
	storage := flags.String("storage", "", "keep Vault's data and unseal key in `DIR` (default: a temporary directory)")
	program := beside.Program{
		Flags:    flags,
		Synopsis: "[-storage DIR]",
		Start: func(ctx context.Context, servers *beside.Servers) error {
			return startVault(ctx, servers, *storage)
		},
	}
	os.Exit(program.Run(os.Args[1:]))
}

// startVault gives the command a Vault with transit/.
func startVault(ctx context.Context, servers *beside.Servers, storage string) error {
	dir, removeDir, err := storageDir(storage)
	if err != nil {
		return err
	}
	servers.OnStop(removeDir)
	server, err := devvault.Start(ctx, devvault.Options{StorageDir: dir})
	if err != nil {
		return err
	}
	servers.OnStop(server.Stop)
	servers.Describe("Vault with transit/ at " + server.Addr())
	servers.Replace("VAULT_")
	servers.Set("VAULT_ADDR="+server.Addr(), "VAULT_TOKEN="+server.RootToken())
	return server.EnableTransit(ctx, "transit")
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
