package beside

import (
	"errors"
	"slices"
	"strings"
)

// Servers are those that run beside a command: what the command must know of
// them, and how to be rid of them.
type Servers struct {
	described []string       // what runs where, a line each
	variables []string       // "NAME=value", by which the command finds them
	replaced  []string       // prefixes of variables that could lead it elsewhere
	cleanUps  []func() error // to be called in reverse
}

// OnStop has a clean-up called after the command, and after those of whatever
// was started later.
func (s *Servers) OnStop(cleanUp func() error) { s.cleanUps = append(s.cleanUps, cleanUp) }

// Describe adds what Run says of a server: what runs where.
func (s *Servers) Describe(line string) { s.described = append(s.described, line) }

// Set sets variables of the command's environment, each "NAME=value". Tokens
// and passwords go this way because a command line is open to every user of the
// machine.
func (s *Servers) Set(variables ...string) { s.variables = append(s.variables, variables...) }

// Replace keeps from the command those of our variables that could lead it to
// other servers: all that begin with one of the prefixes.
func (s *Servers) Replace(prefixes ...string) { s.replaced = append(s.replaced, prefixes...) }

// environment is ours with the servers in the place of whatever others it
// pointed to.
func (s *Servers) environment(ours []string) []string {
	var env []string
	for _, entry := range ours {
		if !slices.ContainsFunc(s.replaced, func(prefix string) bool { return strings.HasPrefix(entry, prefix) }) {
			env = append(env, entry)
		}
	}
	return append(env, s.variables...)
}

// stop ends the servers, the last one first, and removes their data. One that
// does not end keeps none of the others.
func (s *Servers) stop() error {
	var err error
	for _, cleanUp := range slices.Backward(s.cleanUps) {
		err = errors.Join(err, cleanUp())
	}
	return err
}
