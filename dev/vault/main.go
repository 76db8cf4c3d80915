// Command vault is a real Vault server for development and tests, built from
// one of HashiCorp's last releases under the MPL and reduced to what atrest
// uses: the transit engine, AppRole and token authentication, and three kinds
// of storage.
// It reads the same configuration files as HashiCorp's vault and OpenBao's bao,
// so that any of the three serves.
//
// It is its own Go module because Vault's dependencies, some two hundred
// modules, must not reach the library's go.mod.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// vaultVersion is the release of github.com/hashicorp/vault in go.mod.
const vaultVersion = "1.13.1"

const usage = `Usage:
  vault server -config=FILE    run a server until SIGINT or SIGTERM
  vault version                print the version
`

// errUsage marks a command line that makes no sense; the usage text follows it.
var errUsage = errors.New("bad command line")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "vault:", err)
	if errors.Is(err, errUsage) {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	os.Exit(1)
}

// run carries out one command line and returns when it is done or, for a
// server, when ctx ends and the server is down.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: no command", errUsage)
	}
	switch args[0] {
	case "server":
		file, err := configFile(args[1:])
		if err != nil {
			return err
		}
		config, err := readConfig(file)
		if err != nil {
			return err
		}
		return serve(ctx, config, stdout, stderr)
	case "version", "-version", "--version", "-v":
		_, err := fmt.Fprintf(stdout, "Vault v%s (atrest development server)\n", vaultVersion)
		return err
	case "help", "-help", "--help", "-h":
		_, err := io.WriteString(stdout, usage)
		return err
	default:
		return fmt.Errorf("%w: unknown command %q", errUsage, args[0])
	}
}

// configFile takes the one -config flag out of the server command's arguments.
// It is written by hand because package flag lets a repeated flag win silently,
// while HashiCorp's vault would merge the two files; here it is an error.
func configFile(args []string) (string, error) {
	var file string
	for len(args) > 0 {
		name, value, inline := strings.Cut(args[0], "=")
		args = args[1:]
		if name != "-config" && name != "--config" {
			return "", fmt.Errorf("%w: unknown argument %q of server", errUsage, name)
		}
		if !inline {
			if len(args) == 0 {
				return "", fmt.Errorf("%w: -config needs a file", errUsage)
			}
			value, args = args[0], args[1:]
		}
		if value == "" {
			return "", fmt.Errorf("%w: -config needs a file", errUsage)
		}
		if file != "" {
			return "", fmt.Errorf("%w: -config given twice", errUsage)
		}
		file = value
	}
	if file == "" {
		return "", fmt.Errorf("%w: server needs -config=FILE", errUsage)
	}
	return file, nil
}
