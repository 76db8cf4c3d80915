// Package beside is what the commands have in common that start servers, run
// another command beside them and end with it.
//
// It knows no server: what starts one is up to the program, so that each
// compiles only the clients that it needs.
package beside

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// The codes that a program exits with on its own account. Those for a command
// that cannot be run are in command.go.
const (
	exitUsage  = 2
	exitServer = 125
)

// Program is a command that runs another one beside servers of its own.
type Program struct {
	// Flags are the program's own flags, under the name by which it speaks
	// of itself, with [flag.ContinueOnError]. Run adds -quiet.
	Flags *flag.FlagSet

	// Synopsis lists the flags of Flags for the usage line: "[-storage DIR]".
	Synopsis string

	// Start starts the servers and tells Servers of each thing it makes, at
	// once: if it fails, what Servers knows of is cleaned up. ctx ends on an
	// interrupt and on SIGTERM.
	Start func(ctx context.Context, servers *Servers) error
}

// Run parses args, without the program's name, starts the servers, runs the
// command, stops the servers and returns the code to exit with. It has said on
// standard error what went wrong. Codes other than the command's follow the
// shell and its like: 2 for a bad command line, 125 if a server failed, 126 or
// 127 if the command cannot be run, 128 plus the signal's number if a signal
// ended the command.
func (p Program) Run(args []string) (code int) {
	quiet := p.Flags.Bool("quiet", false, "do not say where the servers are")
	p.Flags.Usage = func() {
		fmt.Fprintf(os.Stderr, "Usage: %s %s [-quiet] -- COMMAND ARGS...\n", p.Flags.Name(), p.Synopsis)
		p.Flags.PrintDefaults()
	}
	if err := p.Flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return exitUsage // the flag set has said why
	}
	if p.Flags.NArg() == 0 {
		p.say("no COMMAND to run")
		p.Flags.Usage()
		return exitUsage
	}
	code, err := p.run(p.Flags.Args(), *quiet)
	if err != nil {
		p.say(err)
	}
	return code
}

// run does the work between the command line and the exit code.
func (p Program) run(command []string, quiet bool) (code int, err error) {
	// From here on no signal ends us before the servers are stopped. Those that
	// arrive before the command runs are kept for it.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, forwarded()...)
	defer signal.Stop(signals)

	servers := &Servers{}
	defer func() {
		if failed := servers.stop(); failed != nil {
			err = errors.Join(err, failed)
			if code == 0 {
				code = exitServer
			}
		}
	}()
	if err := p.start(servers); err != nil {
		return exitServer, err
	}
	if !quiet {
		for _, line := range servers.described {
			p.say(line)
		}
	}
	return runCommand(command, servers.environment(os.Environ()), signals)
}

func (p Program) start(servers *Servers) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return p.Start(ctx, servers)
}

func (p Program) say(what any) { fmt.Fprintf(os.Stderr, "%s: %v\n", p.Flags.Name(), what) }
