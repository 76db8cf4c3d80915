// Command bench measures atrest side by side with what it is built on and with
// what could be used instead: raw AES-256-GCM, Tink, sio and age; the plain ways
// to write to a disk, to PostgreSQL and to S3; envelope encryption as one would
// write it in an afternoon, and gocloud.dev/secrets.
//
//	bench [-run REGEXP] [-rounds N] [-quick] [-huge] [-json] [-write PATH] ...
//
// It starts a Vault, a PostgreSQL and an S3 server of its own, in temporary
// directories, and ends them. What is compared takes turns, within one process,
// in an order that rotates, and what counts is the ratio: on a machine that is not
// idle, the figures come and go together. Every result is looked at: what was put
// is read back and compared, and counted.
//
// A goal that is missed is marked in the table, and does not change the exit
// status. That is 1 if something could not be measured.
//
// It is a module of its own, so that the library does not depend on what it is
// compared with. The tests beside it are proof that atrest's bodies are those of
// Tink's AES-GCM-HKDF streaming AEAD, and counts of what an operation costs in
// requests, bytes and allocations.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/atrest/atrest/internal/devs3"
)

// settings are what the command line says.
type settings struct {
	run    *regexp.Regexp
	rounds int
	quick  bool
	huge   bool
	json   bool
	list   bool
	s3     string
	dir    string
	write  string
	cpu    string
}

// target is how long one run of repeated operations takes.
func (s settings) target() time.Duration {
	if s.quick {
		return 10 * time.Millisecond
	}
	return 500 * time.Millisecond
}

// scaled is how much is done, in full or quickly.
func (s settings) scaled(full, quick int64) int64 {
	if s.quick {
		return quick
	}
	return full
}

// fewRounds is how many there are of what takes long. Zero: as many as of all.
func (s settings) fewRounds() int {
	if s.quick {
		return 1
	}
	return 0
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2)
	}
	if err := profiled(s.cpu, func() error { return execBench(ctx, s, os.Stdout, os.Stderr) }); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// profiled calls f, and writes a profile meanwhile unless path is empty.
func profiled(path string, f func() error) error {
	if path == "" {
		return f()
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return errors.Join(err, out.Close())
	}
	err = f()
	pprof.StopCPUProfile()
	return errors.Join(err, out.Close())
}

// parse reads the command line, and has said what is wrong with it.
func parse(args []string, stderr io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	run := flags.String("run", "", "measure only what matches this `REGEXP`")
	flags.IntVar(&s.rounds, "rounds", 0, "how many `rounds` each comparison has; zero means 5, or 2 with -quick")
	flags.BoolVar(&s.quick, "quick", false, "measure everything in less than a minute, with less of it and in fewer rounds")
	flags.BoolVar(&s.huge, "huge", false, "measure bodies of 16 GiB, too, which need twice as much room on the disk")
	flags.BoolVar(&s.json, "json", false, "print a JSON object a line instead of a table")
	flags.BoolVar(&s.list, "list", false, "list the names of all results, and measure nothing")
	kinds := devs3.Kinds()
	flags.StringVar(&s.s3, "s3", string(kinds[len(kinds)-1]), fmt.Sprintf("the `kind` of the S3 server, of %q", kinds))
	flags.StringVar(&s.dir, "dir", "", "a `directory` on the file system to be measured; empty means the system's temporary one")
	flags.StringVar(&s.write, "write", "", "write the table into the file at this `PATH`, between its markers")
	flags.StringVar(&s.cpu, "cpuprofile", "", "write a profile of this process to this `PATH`")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	var err error
	if s.run, err = regexp.Compile(*run); err != nil {
		fmt.Fprintln(stderr, "bench: -run:", err)
		return s, err
	}
	if flags.NArg() > 0 || s.rounds < 0 {
		flags.Usage()
		return s, errors.New("bad command line")
	}
	if s.rounds == 0 {
		s.rounds = int(s.scaled(5, 2))
	}
	return s, nil
}

// execBench does what the settings say.
func execBench(ctx context.Context, s settings, stdout, stderr io.Writer) error {
	some := selected(comparisons(s), s.run)
	if s.list {
		for _, c := range some {
			fmt.Fprintln(stdout, strings.Join(c.names(), "\n"))
		}
		return nil
	}
	if len(some) == 0 {
		return fmt.Errorf("nothing has a name that matches %q", s.run)
	}
	if s.write != "" {
		// Better now than after an hour.
		if _, err := os.ReadFile(s.write); err != nil {
			return err
		}
	}
	results, machine, err := measureAll(ctx, s, some, stdout, stderr)
	if len(results) > 0 && !s.json {
		fmt.Fprint(stdout, table(results))
	}
	// What was left out by an error is no reason to lose the page's old table.
	if err != nil || s.write == "" {
		return err
	}
	return writeInto(s.write, machine.String()+table(results))
}

// measureAll measures one comparison after the other. With -json it prints each
// result as soon as it is there. What can't be measured is an error in the end,
// and does not keep the rest from being measured.
func measureAll(ctx context.Context, s settings, some []comparison, stdout, stderr io.Writer) (results []result, m machine, err error) {
	e, err := newEnv(s)
	if err != nil {
		return nil, m, err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	start := time.Now()
	var errs []error
	for _, c := range some {
		began := time.Now()
		measured, err := measure(ctx, e, c)
		if ctx.Err() != nil {
			return results, m, context.Cause(ctx)
		}
		if err != nil {
			fmt.Fprintln(stderr, "bench:", err)
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(stderr, "%6.1fs %s, in %.1fs:%s\n", time.Since(start).Seconds(), c.name, time.Since(began).Seconds(), ratios(c, measured))
		results = append(results, measured...)
		if !s.json {
			continue
		}
		for _, r := range measured {
			if err := json.NewEncoder(stdout).Encode(r); err != nil {
				return results, m, err
			}
		}
	}
	m = describe(ctx, e)
	if len(errs) > 0 {
		err = fmt.Errorf("%d comparisons could not be measured", len(errs))
	}
	return results, m, err
}
